// What the kernels of attention share, in either type.
//
// Query i sees key j if j < lengths[b] (n_k where there are none) and, under a causal mask, j <= i + n_k - n_q. A row that
// sees nothing is zero. Scores are kept in units of log 2: p = 2^(s - lse). Four lanes of a warp hold one row.

#define WARPS 4
#define HIDDEN (-3.0e38f)

struct Attention {
    int n_q, n_k, heads, kv_heads, d, causal;
    float scale;
};

// How many keys query i sees.
__device__ __forceinline__ int seen(const Attention& s, int valid, int i) {
    int until = s.causal ? min(valid, i + 1 + s.n_k - s.n_q) : valid;
    return i < s.n_q ? max(until, 0) : 0;
}

__device__ __forceinline__ int valid_keys(const Attention& s, const int* lengths, int b) {
    return lengths ? min(lengths[b], s.n_k) : s.n_k;
}

// The sum, or the largest, over the four lanes that hold one row.
__device__ __forceinline__ float row_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

__device__ __forceinline__ float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

// delta [b, heads, n_q] = sum(out grad) of every row: a warp a row, 4 rows a block.
template <class T>
__device__ void attention_delta(const T* out, const T* grad, float* delta, int rows, int n_q, int heads, int d) {
    int row = blockIdx.x * WARPS + threadIdx.x / 32;
    float sum = 0;
    if (row < rows) {
        for (int i = threadIdx.x % 32; i < d; i += 32) sum += wide(out[(size_t)row * d + i]) * wide(grad[(size_t)row * d + i]);
    }
    sum = warp_sum(sum);
    // Rows come as [b, n_q, heads].
    int h = row % heads, i = row / heads % n_q, b = row / heads / n_q;
    if (row < rows && threadIdx.x % 32 == 0) delta[((size_t)b * heads + h) * n_q + i] = sum;
}

#define SHAPE int n_q, int n_k, int heads, int kv_heads, int d, int causal, float scale
#define THE_SHAPE                                                                                                            \
    Attention s = {n_q, n_k, heads, kv_heads, d, causal, scale};
