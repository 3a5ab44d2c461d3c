// AdamW in place, as src/kernels/adamw.rs computes it: parameters float32, gradients float32 or bfloat16 and first
// multiplied by `factor` (clipping), moments float32 or bfloat16.
//
// A moment in bfloat16 is rounded up or down by chance, with the probability that makes its expectation right: rounded to
// the nearest, the second moment with beta2 = 0.999 would stop moving (a thousandth is less than half a unit of its
// last digit). The draws come from a counter: the same step draws the same.

__device__ __forceinline__ unsigned long long mix(unsigned long long z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

__device__ __forceinline__ void keep(float* at, float x, unsigned) {
    *at = x;
}

__device__ __forceinline__ void keep(bf16* at, float x, unsigned draw) {
    unsigned bits = __float_as_uint(x);
    // What is not finite must be told, not rounded.
    at->bits = (bits & 0x7f800000u) == 0x7f800000u ? (unsigned short)bf16_bits(x) : (unsigned short)((bits + (draw & 0xffffu)) >> 16);
}

template <class G, class M>
__device__ void adamw(
    float* p, const G* g, M* m, M* v, long long n, float factor, float keep_share, float beta1, float rest1, float beta2,
    float rest2, float eps, float step_size, float root_correction, long long key) {
    long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        float grad = wide(g[i]) * factor;
        float first = fmaf(beta1, wide(m[i]), rest1 * grad);
        float second = fmaf(beta2, wide(v[i]), rest2 * grad * grad);
        unsigned long long draw = sizeof(M) == 2 ? mix((unsigned long long)key + (unsigned long long)i * 0x9E3779B97F4A7C15ull) : 0;
        keep(m + i, first, (unsigned)draw);
        keep(v + i, second, (unsigned)(draw >> 32));
        // At rate 0 the moments advance and nothing moves.
        if (step_size != 0.0f) p[i] = p[i] * keep_share - step_size * (first / (sqrtf(second) / root_correction + eps));
    }
}

#define ADAMW(G, M, NAME)                                                                                               \
    ENTRY void adamw_##NAME(                                                                                            \
        float* p, const G* g, M* m, M* v, long long n, float factor, float keep_share, float beta1, float rest1,        \
        float beta2, float rest2, float eps, float step_size, float root_correction, long long key) {                   \
        adamw<G, M>(                                                                                                    \
            p, g, m, v, n, factor, keep_share, beta1, rest1, beta2, rest2, eps, step_size, root_correction, key);       \
    }

ADAMW(float, float, f32_f32)
ADAMW(float, bf16, f32_bf16)
ADAMW(bf16, float, bf16_f32)
ADAMW(bf16, bf16, bf16_bf16)
