// Needs attention.cuh.
//
// Softmax attention in float32 without a matrix of scores: tiles of queries and keys as in bfloat16, products in float.
//
// A block has 32 rows, queries forward and for dq, keys for dk and dv, and four lanes a row: lane t has the scores of
// columns t, t + 4, .. of the tile that passes, and channels t, t + 4, .. of the result. Nothing is added atomically.

#define ROWS 32

// Rows first.. + rows of one head into a tile whose rows are D + 1 apart: lanes then meet in no bank. Zeros beyond `limit`
// rows and d channels.
template <int D>
__device__ void fetch(float* tile, const float* base, int stride, int first, int rows, int limit, int d) {
    for (int i = threadIdx.x; i < rows * D; i += WARPS * 32) {
        int row = i / D, column = i % D;
        bool inside = first + row < limit && column < d;
        tile[row * (D + 1) + column] = inside ? base[(size_t)(first + row) * stride + column] : 0.0f;
    }
}

template <int D>
__device__ __forceinline__ float dot(const float* a, const float* b) {
    float sum = 0;
#pragma unroll 8
    for (int x = 0; x < D; ++x) sum = fmaf(a[x], b[x], sum);
    return sum;
}

// A lane's channels of a row times `by`.
template <int D>
__device__ void put(float* to, int d, const float* o, float by) {
#pragma unroll
    for (int i = 0; i < D / 4; ++i) {
        int column = threadIdx.x % 4 + 4 * i;
        if (column < d) to[column] = o[i] * by;
    }
}

// A lane's channels: o += the sum over the passing rows j of shares[j] tile[j].
template <int D, int PASSING>
__device__ void gather(float* o, const float* shares, const float* tile) {
    for (int j = 0; j < PASSING; ++j) {
        float share = shares[j];
        const float* row = tile + j * (D + 1) + threadIdx.x % 4;
#pragma unroll
        for (int i = 0; i < D / 4; ++i) o[i] = fmaf(share, row[4 * i], o[i]);
    }
}

// Grid (query tiles, heads, b). lse [b, heads, n_q]; +3e38 in rows that see nothing.
template <int D, int PASSING>
__device__ void attention_forward(
    const float* q, const float* k, const float* v, const int* lengths, float* out, float* lse, Attention s) {
    DYNAMIC_SHARED(memory);
    float* q_tile = (float*)memory;
    float* k_tile = q_tile + ROWS * (D + 1);
    float* v_tile = k_tile + PASSING * (D + 1);
    float* shares = v_tile + PASSING * (D + 1);
    int b = blockIdx.z, h = blockIdx.y, first = blockIdx.x * ROWS, kv = h / (s.heads / s.kv_heads);
    int r = threadIdx.x / 4, t = threadIdx.x % 4;
    int width = s.heads * s.d, kv_width = s.kv_heads * s.d, valid = valid_keys(s, lengths, b);
    const float* k_base = k + (size_t)b * s.n_k * kv_width + kv * s.d;
    const float* v_base = v + (size_t)b * s.n_k * kv_width + kv * s.d;
    size_t head = (size_t)b * s.n_q * width + h * s.d;
    fetch<D>(q_tile, q + head, width, first, ROWS, s.n_q, s.d);
    int until = seen(s, valid, first + r), last = seen(s, valid, min(first + ROWS, s.n_q) - 1);
    float factor = s.scale * 1.4426950408889634f, o[D / 4] = {}, largest = HIDDEN, sum = 0;
    for (int key = 0; key < last; key += PASSING) {
        __syncthreads();
        fetch<D>(k_tile, k_base, kv_width, key, PASSING, s.n_k, s.d);
        fetch<D>(v_tile, v_base, kv_width, key, PASSING, s.n_k, s.d);
        __syncthreads();
        float c[PASSING / 4], top = HIDDEN;
#pragma unroll
        for (int i = 0; i < PASSING / 4; ++i) {
            int j = t + 4 * i;
            c[i] = key + j < until ? dot<D>(q_tile + r * (D + 1), k_tile + j * (D + 1)) * factor : HIDDEN;
            top = fmaxf(top, c[i]);
        }
        top = fmaxf(largest, row_max(top));
        float shrink = exp2f(largest - top);
        largest = top;
        sum *= shrink;
#pragma unroll
        for (int i = 0; i < PASSING / 4; ++i) {
            int j = t + 4 * i;
            float share = key + j < until ? exp2f(c[i] - top) : 0.0f;
            sum += share;
            shares[r * (PASSING + 1) + j] = share;
        }
#pragma unroll
        for (int i = 0; i < D / 4; ++i) o[i] *= shrink;
        __syncthreads();
        gather<D, PASSING>(o, shares + r * (PASSING + 1), v_tile);
    }
    float total = row_sum(sum);
    float inverse = total > 0 ? 1.0f / total : total == 0 ? 0.0f : total;
    int row = first + r;
    if (row >= s.n_q) return;
    if (t == 0) lse[((size_t)b * s.heads + h) * s.n_q + row] = total == 0 ? 3.0e38f : largest + log2f(total);
    put<D>(out + head + (size_t)row * width, s.d, o, inverse);
}

// dq = scale (p (grad v^T - delta)) k. Grid as forward.
template <int D, int PASSING>
__device__ void attention_query(
    const float* q, const float* k, const float* v, const int* lengths, const float* grad, const float* lse,
    const float* delta, float* dq, Attention s) {
    DYNAMIC_SHARED(memory);
    float* q_tile = (float*)memory;
    float* g_tile = q_tile + ROWS * (D + 1);
    float* k_tile = g_tile + ROWS * (D + 1);
    float* v_tile = k_tile + PASSING * (D + 1);
    float* slopes = v_tile + PASSING * (D + 1);
    int b = blockIdx.z, h = blockIdx.y, first = blockIdx.x * ROWS, kv = h / (s.heads / s.kv_heads);
    int r = threadIdx.x / 4, t = threadIdx.x % 4, row = first + r;
    int width = s.heads * s.d, kv_width = s.kv_heads * s.d, valid = valid_keys(s, lengths, b);
    const float* k_base = k + (size_t)b * s.n_k * kv_width + kv * s.d;
    const float* v_base = v + (size_t)b * s.n_k * kv_width + kv * s.d;
    size_t head = (size_t)b * s.n_q * width + h * s.d;
    size_t at = ((size_t)b * s.heads + h) * s.n_q + min(row, s.n_q - 1);
    fetch<D>(q_tile, q + head, width, first, ROWS, s.n_q, s.d);
    fetch<D>(g_tile, grad + head, width, first, ROWS, s.n_q, s.d);
    int until = seen(s, valid, row), last = seen(s, valid, min(first + ROWS, s.n_q) - 1);
    float factor = s.scale * 1.4426950408889634f, total = lse[at], centre = delta[at], o[D / 4] = {};
    for (int key = 0; key < last; key += PASSING) {
        __syncthreads();
        fetch<D>(k_tile, k_base, kv_width, key, PASSING, s.n_k, s.d);
        fetch<D>(v_tile, v_base, kv_width, key, PASSING, s.n_k, s.d);
        __syncthreads();
        for (int i = 0; i < PASSING / 4; ++i) {
            int j = t + 4 * i;
            float slope = 0;
            if (key + j < until) {
                float share = exp2f(dot<D>(q_tile + r * (D + 1), k_tile + j * (D + 1)) * factor - total);
                slope = share * (dot<D>(g_tile + r * (D + 1), v_tile + j * (D + 1)) - centre) * s.scale;
            }
            slopes[r * (PASSING + 1) + j] = slope;
        }
        __syncthreads();
        gather<D, PASSING>(o, slopes + r * (PASSING + 1), k_tile);
    }
    if (row < s.n_q) put<D>(dq + head + (size_t)row * width, s.d, o, 1.0f);
}

// dv = p^T grad, dk = scale (p (grad v^T - delta))^T q, over all query heads of a key head. Grid (key tiles, kv_heads, b).
template <int D, int PASSING>
__device__ void attention_keys(
    const float* q, const float* k, const float* v, const int* lengths, const float* grad, const float* lse,
    const float* delta, float* dk, float* dv, Attention s) {
    DYNAMIC_SHARED(memory);
    float* k_tile = (float*)memory;
    float* v_tile = k_tile + ROWS * (D + 1);
    float* q_tile = v_tile + ROWS * (D + 1);
    float* g_tile = q_tile + PASSING * (D + 1);
    float* shares = g_tile + PASSING * (D + 1);
    float* slopes = shares + ROWS * (PASSING + 1);
    int b = blockIdx.z, kv = blockIdx.y, first = blockIdx.x * ROWS, group = s.heads / s.kv_heads;
    int r = threadIdx.x / 4, t = threadIdx.x % 4, key = first + r;
    int width = s.heads * s.d, kv_width = s.kv_heads * s.d, valid = valid_keys(s, lengths, b);
    size_t kv_head = (size_t)b * s.n_k * kv_width + kv * s.d;
    fetch<D>(k_tile, k + kv_head, kv_width, first, ROWS, s.n_k, s.d);
    fetch<D>(v_tile, v + kv_head, kv_width, first, ROWS, s.n_k, s.d);
    float factor = s.scale * 1.4426950408889634f, to_k[D / 4] = {}, to_v[D / 4] = {};
    // The first query that sees the tile's first key; none if that key is padding.
    int from = s.causal ? max(0, first + s.n_q - s.n_k) / PASSING * PASSING : 0;
    if (first >= valid) from = s.n_q;
    for (int h = kv * group; h < (kv + 1) * group; ++h) {
        size_t head = (size_t)b * s.n_q * width + h * s.d;
        const float* lse_row = lse + ((size_t)b * s.heads + h) * s.n_q;
        const float* delta_row = delta + ((size_t)b * s.heads + h) * s.n_q;
        for (int query = from; query < s.n_q; query += PASSING) {
            __syncthreads();
            fetch<D>(q_tile, q + head, width, query, PASSING, s.n_q, s.d);
            fetch<D>(g_tile, grad + head, width, query, PASSING, s.n_q, s.d);
            __syncthreads();
            for (int i = 0; i < PASSING / 4; ++i) {
                int j = t + 4 * i;
                float share = 0, slope = 0;
                if (key < seen(s, valid, query + j)) {
                    share = exp2f(dot<D>(k_tile + r * (D + 1), q_tile + j * (D + 1)) * factor - lse_row[query + j]);
                    slope = share * (dot<D>(v_tile + r * (D + 1), g_tile + j * (D + 1)) - delta_row[query + j]) * s.scale;
                }
                shares[r * (PASSING + 1) + j] = share;
                slopes[r * (PASSING + 1) + j] = slope;
            }
            __syncthreads();
            gather<D, PASSING>(to_v, shares + r * (PASSING + 1), g_tile);
            gather<D, PASSING>(to_k, slopes + r * (PASSING + 1), q_tile);
        }
    }
    if (key >= s.n_k) return;
    put<D>(dk + kv_head + (size_t)key * kv_width, s.d, to_k, 1.0f);
    put<D>(dv + kv_head + (size_t)key * kv_width, s.d, to_v, 1.0f);
}

ENTRY void attention_delta_f32(const float* out, const float* grad, float* delta, int rows, int n_q, int heads, int d) {
    attention_delta(out, grad, delta, rows, n_q, heads, d);
}

// How many keys or queries pass at a time: all tiles of a kernel fit 48 KiB of shared memory.
#define ATTENTION(D, PASSING)                                                                                           \
    ENTRY void attention_forward_f32_##D(                                                                               \
        const float* q, const float* k, const float* v, const int* lengths, float* out, float* lse, SHAPE) {            \
        THE_SHAPE attention_forward<D, PASSING>(q, k, v, lengths, out, lse, s);                                         \
    }                                                                                                                   \
    ENTRY void attention_query_f32_##D(                                                                                 \
        const float* q, const float* k, const float* v, const int* lengths, const float* grad, const float* lse,        \
        const float* delta, float* dq, SHAPE) {                                                                         \
        THE_SHAPE attention_query<D, PASSING>(q, k, v, lengths, grad, lse, delta, dq, s);                               \
    }                                                                                                                   \
    ENTRY void attention_keys_f32_##D(                                                                                  \
        const float* q, const float* k, const float* v, const int* lengths, const float* grad, const float* lse,        \
        const float* delta, float* dk, float* dv, SHAPE) {                                                              \
        THE_SHAPE attention_keys<D, PASSING>(q, k, v, lengths, grad, lse, delta, dk, dv, s);                            \
    }

ATTENTION(32, 32)
ATTENTION(64, 32)
ATTENTION(128, 8)
