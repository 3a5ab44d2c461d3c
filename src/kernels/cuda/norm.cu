// Layer norm and RMS norm over rows of width d: y = h w (+ b), h = (x - mean) rstd. One block a row.

// `stats` gets mean (0 for RMS norm) and rstd of every row. `b` may be null.
template <class T>
__device__ void norm_forward(const T* x, const float* w, const float* b, T* y, float* stats, int d, float eps, int centres) {
    __shared__ float scratch[32];
    const T* row = x + (size_t)blockIdx.x * d;
    T* out = y + (size_t)blockIdx.x * d;
    float mean = 0;
    if (centres) {
        float sum = 0;
        for (int i = threadIdx.x; i < d; i += blockDim.x) sum += wide(row[i]);
        mean = block_sum(sum, scratch) / d;
    }
    float squares = 0;
    for (int i = threadIdx.x; i < d; i += blockDim.x) {
        float centred = wide(row[i]) - mean;
        squares += centred * centred;
    }
    float rstd = 1.0f / sqrtf(block_sum(squares, scratch) / d + eps);
    for (int i = threadIdx.x; i < d; i += blockDim.x) {
        float scaled = (wide(row[i]) - mean) * rstd * w[i];
        out[i] = narrow<T>(b ? scaled + b[i] : scaled);
    }
    if (threadIdx.x == 0) {
        stats[2 * (size_t)blockIdx.x] = mean;
        stats[2 * (size_t)blockIdx.x + 1] = rstd;
    }
}

// dx = (s - mean(s) - h mean(s h)) rstd with s = dy w; without mean(s) for RMS norm.
template <class T>
__device__ void norm_backward(const T* x, const float* w, const T* dy, const float* stats, T* dx, int d, int centres) {
    __shared__ float scratch[32];
    size_t start = (size_t)blockIdx.x * d;
    float mean = stats[2 * (size_t)blockIdx.x], rstd = stats[2 * (size_t)blockIdx.x + 1];
    float sum = 0, product = 0;
    for (int i = threadIdx.x; i < d; i += blockDim.x) {
        float s = wide(dy[start + i]) * w[i];
        sum += s;
        product += s * ((wide(x[start + i]) - mean) * rstd);
    }
    sum = centres ? block_sum(sum, scratch) / d : 0.0f;
    product = block_sum(product, scratch) / d;
    for (int i = threadIdx.x; i < d; i += blockDim.x) {
        float s = wide(dy[start + i]) * w[i];
        float h = (wide(x[start + i]) - mean) * rstd;
        dx[start + i] = narrow<T>((s - sum - h * product) * rstd);
    }
}

// Sums over a piece of the rows: of dy h into `dw`, of dy into `db` (null if not wanted), both [pieces, d].
// Blocks of 32 x 8 threads: a column a lane, every eighth row a warp. grid.x over columns, grid.y over pieces.
template <class T>
__device__ void norm_weights(const T* x, const T* dy, const float* stats, float* dw, float* db, int rows, int d, int piece) {
    __shared__ float left[2][8][33];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int column = blockIdx.x * 32 + lane;
    int from = blockIdx.y * piece, to = min(rows, from + piece);
    float scale = 0, shift = 0;
    if (column < d) {
        for (int r = from + warp; r < to; r += 8) {
            size_t at = (size_t)r * d + column;
            float g = wide(dy[at]);
            scale += g * ((wide(x[at]) - stats[2 * (size_t)r]) * stats[2 * (size_t)r + 1]);
            shift += g;
        }
    }
    left[0][warp][lane] = scale;
    left[1][warp][lane] = shift;
    __syncthreads();
    if (warp == 0 && column < d) {
        scale = shift = 0;
        for (int w = 0; w < 8; ++w) {
            scale += left[0][w][lane];
            shift += left[1][w][lane];
        }
        size_t at = (size_t)blockIdx.y * d + column;
        if (dw) dw[at] = scale;
        if (db) db[at] = shift;
    }
}

#define NORM(T, NAME)                                                                                                   \
    ENTRY void norm_forward_##NAME(                                                                                     \
        const T* x, const float* w, const float* b, T* y, float* stats, int d, float eps, int centres) {                \
        norm_forward<T>(x, w, b, y, stats, d, eps, centres);                                                            \
    }                                                                                                                   \
    ENTRY void norm_backward_##NAME(                                                                                    \
        const T* x, const float* w, const T* dy, const float* stats, T* dx, int d, int centres) {                       \
        norm_backward<T>(x, w, dy, stats, dx, d, centres);                                                              \
    }                                                                                                                   \
    ENTRY void norm_weights_##NAME(                                                                                     \
        const T* x, const T* dy, const float* stats, float* dw, float* db, int rows, int d, int piece) {                \
        norm_weights<T>(x, dy, stats, dw, db, rows, d, piece);                                                          \
    }

NORM(float, f32)
NORM(bf16, bf16)
