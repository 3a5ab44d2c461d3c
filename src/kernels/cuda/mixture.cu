// The dense mixture of CoMoE: out[b] = sum_e g[b, e] y_e[b], up to eight experts. `each` numbers a sample.

struct Experts {
    const void* at[8];
};

template <class T>
__device__ void mixture_forward(const Experts& experts, const float* weights, T* out, long long n, long long each, int count) {
    // A pack must be one sample's.
    bool packs = aligned(out) && each % (16 / sizeof(T)) == 0;
#pragma unroll
    for (int e = 0; e < 8; ++e) packs = packs && (e >= count || aligned(experts.at[e]));
    over<T>(n, packs, [&](auto width, long long i) {
        const int N = decltype(width)::value;
        const float* g = weights + i / each * count;
        float sums[N] = {};
#pragma unroll
        for (int e = 0; e < 8; ++e) {
            if (e >= count) continue;
            Pack<N, T> y = load<N>((const T*)experts.at[e] + i);
#pragma unroll
            for (int j = 0; j < N; ++j) sums[j] += g[e] * wide(y.at[j]);
        }
        Pack<N, T> sum;
#pragma unroll
        for (int j = 0; j < N; ++j) sum.at[j] = narrow<T>(sums[j]);
        store<N>(out + i, sum);
    });
}

// dy_e[b] = g[b, e] dout[b].
template <class T>
__device__ void mixture_expert(const T* dout, const float* weights, T* dy, long long n, long long each, int count, int e) {
    over<T>(n, aligned(dout) && aligned(dy) && each % (16 / sizeof(T)) == 0, [&](auto width, long long i) {
        const int N = decltype(width)::value;
        float g = weights[i / each * count + e];
        Pack<N, T> d = load<N>(dout + i);
#pragma unroll
        for (int j = 0; j < N; ++j) d.at[j] = narrow<T>(g * wide(d.at[j]));
        store<N>(dy + i, d);
    });
}

// Part of dg[b, e] = <y_e[b], dout[b]> from a piece of a sample: out [pieces, b, count]; grid (pieces, b).
template <class T>
__device__ void mixture_weights(const Experts& experts, const T* dout, float* out, long long each, int count, int piece) {
    __shared__ float scratch[32];
    long long from = (long long)blockIdx.x * piece, to = from + piece < each ? from + piece : each;
    long long start = blockIdx.y * each;
    float sums[8];
#pragma unroll
    for (int e = 0; e < 8; ++e) sums[e] = 0;
    for (long long i = from + threadIdx.x; i < to; i += blockDim.x) {
        float d = wide(dout[start + i]);
#pragma unroll
        for (int e = 0; e < 8; ++e) {
            if (e < count) sums[e] += d * wide(((const T*)experts.at[e])[start + i]);
        }
    }
#pragma unroll
    for (int e = 0; e < 8; ++e) {
        if (e < count) {
            float sum = block_sum(sums[e], scratch);
            if (threadIdx.x == 0) out[((size_t)blockIdx.x * gridDim.y + blockIdx.y) * count + e] = sum;
        }
    }
}

#define EIGHT const void *y0, const void *y1, const void *y2, const void *y3, const void *y4, const void *y5, const void *y6, const void *y7
#define TABLE                                                                                                           \
    Experts experts = {{y0, y1, y2, y3, y4, y5, y6, y7}};

#define MIXTURE(T, NAME)                                                                                                \
    ENTRY void mixture_forward_##NAME(EIGHT, const float* weights, T* out, long long n, long long each, int count) {    \
        TABLE mixture_forward<T>(experts, weights, out, n, each, count);                                                \
    }                                                                                                                   \
    ENTRY void mixture_expert_##NAME(                                                                                   \
        const T* dout, const float* weights, T* dy, long long n, long long each, int count, int e) {                    \
        mixture_expert<T>(dout, weights, dy, n, each, count, e);                                                        \
    }                                                                                                                   \
    ENTRY void mixture_weights_##NAME(EIGHT, const T* dout, float* out, long long each, int count, int piece) {         \
        TABLE mixture_weights<T>(experts, dout, out, each, count, piece);                                               \
    }

MIXTURE(float, f32)
MIXTURE(bf16, bf16)
