// Sums in a fixed order.

// Column sums of a piece of the rows of x [rows, d] into out [pieces, d]: blocks of 32 x 8 threads as in norm.cu.
template <class T>
__device__ void column_sums(const T* x, float* out, int rows, int d, int piece) {
    __shared__ float left[8][33];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int column = blockIdx.x * 32 + lane;
    int from = blockIdx.y * piece, to = min(rows, from + piece);
    float sum = 0;
    if (column < d) {
        for (int r = from + warp; r < to; r += 8) sum += wide(x[(size_t)r * d + column]);
    }
    left[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && column < d) {
        sum = 0;
        for (int w = 0; w < 8; ++w) sum += left[w][lane];
        out[(size_t)blockIdx.y * d + column] = sum;
    }
}

// Sums of squares of pieces of x, one a block, in double: squares of floats do not overflow it.
template <class T>
__device__ void squared_norm(const T* x, double* out, long long n, int piece) {
    __shared__ double scratch[32];
    long long from = (long long)blockIdx.x * piece, to = from + piece < n ? from + piece : n;
    double sum = 0;
    for (long long i = from + threadIdx.x; i < to; i += blockDim.x) {
        double v = wide(x[i]);
        sum += v * v;
    }
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

// The sum of n numbers, by one block.
ENTRY void sum_f32(const float* x, float* out, int n) {
    __shared__ double scratch[32];
    double sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) out[0] = (float)sum;
}

// y [rows, d] += bias [d] (null if there is none) + residual (likewise), rounded once.
template <class T>
__device__ void add_bias(T* y, const float* bias, const T* residual, long long n, int d) {
    // A pack must lie in one row.
    over<T>(n, aligned(y) && aligned(residual) && d % (16 / sizeof(T)) == 0, [&](auto width, long long i) {
        const int N = decltype(width)::value;
        Pack<N, T> v = load<N>(y + i), more = residual ? load<N>(residual + i) : v;
        int column = (int)(i % d);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            float sum = wide(v.at[j]);
            if (bias) sum += bias[column + j];
            if (residual) sum += wide(more.at[j]);
            v.at[j] = narrow<T>(sum);
        }
        store<N>(y + i, v);
    });
}

// sum += x.
template <class T>
__device__ void accumulate(float* sum, const T* x, long long n) {
    long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) sum[i] += wide(x[i]);
}

#define REDUCE(T, NAME)                                                                                                 \
    ENTRY void column_sums_##NAME(const T* x, float* out, int rows, int d, int piece) {                                 \
        column_sums<T>(x, out, rows, d, piece);                                                                         \
    }                                                                                                                   \
    ENTRY void squared_norm_##NAME(const T* x, double* out, long long n, int piece) {                                   \
        squared_norm<T>(x, out, n, piece);                                                                              \
    }                                                                                                                   \
    ENTRY void accumulate_##NAME(float* sum, const T* x, long long n) {                                                 \
        accumulate<T>(sum, x, n);                                                                                       \
    }                                                                                                                   \
    ENTRY void add_bias_##NAME(T* y, const float* bias, const T* residual, long long n, int d) {                        \
        add_bias<T>(y, bias, residual, n, d);                                                                           \
    }

REDUCE(float, f32)
REDUCE(bf16, bf16)
