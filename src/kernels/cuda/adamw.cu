// AdamW in place, as src/kernels/adamw.rs computes it: parameters float32, gradients float32 or bfloat16 and first
// multiplied by `factor` (clipping), moments float32 or bfloat16.
//
// A moment in bfloat16 is rounded up or down by chance, with the probability that makes its expectation right: rounded to
// the nearest, the second moment with beta2 = 0.999 would stop moving (a thousandth is less than half a unit of its
// last digit). The draws come from a counter: the same step draws the same.

__device__ __forceinline__ void keep(float* at, float x, unsigned) {
    *at = x;
}

__device__ __forceinline__ void keep(bf16* at, float x, unsigned draw) {
    unsigned bits = __float_as_uint(x);
    // What is not finite must be told, not rounded.
    at->bits = (bits & 0x7f800000u) == 0x7f800000u ? (unsigned short)bf16_bits(x) : (unsigned short)((bits + (draw & 0xffffu)) >> 16);
}

struct Step {
    float factor, keep_share, beta1, rest1, beta2, rest2, eps, step_size, root_correction;
    unsigned long long key;
};

// `copy` (or null) is the parameter in bfloat16, which follows it. With `measured`, sums of the squares of new - start,
// new - old, g, m (before the step) and of g m go to measured [gridDim.x, 5], in double.
template <class G, class M, bool MEASURES>
__device__ void adamw(
    float* p, bf16* copy, const G* g, M* m, M* v, const float* start, double* measured, long long n, Step s) {
    long long stride = (long long)gridDim.x * blockDim.x;
    double sums[5] = {0, 0, 0, 0, 0};
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        float grad = wide(g[i]) * s.factor, old_first = wide(m[i]), old = p[i];
        float first = fmaf(s.beta1, old_first, s.rest1 * grad);
        float second = fmaf(s.beta2, wide(v[i]), s.rest2 * grad * grad);
        unsigned long long draw = sizeof(M) == 2 ? mix(s.key + (unsigned long long)i * 0x9E3779B97F4A7C15ull) : 0;
        keep(m + i, first, (unsigned)draw);
        keep(v + i, second, (unsigned)(draw >> 32));
        float now = old;
        // At rate 0 the moments advance and nothing moves.
        if (s.step_size != 0.0f) {
            now = old * s.keep_share - s.step_size * (first / (sqrtf(second) / s.root_correction + s.eps));
            p[i] = now;
            if (copy) copy[i] = narrow<bf16>(now);
        }
        if (MEASURES) {
            double drift = (double)(now - start[i]), update = (double)(now - old);
            sums[0] += drift * drift;
            sums[1] += update * update;
            sums[2] += (double)grad * grad;
            sums[3] += (double)old_first * old_first;
            sums[4] += (double)grad * old_first;
        }
    }
    if (MEASURES) {
        __shared__ double scratch[32];
        for (int k = 0; k < 5; ++k) {
            double sum = block_sum(sums[k], scratch);
            if (threadIdx.x == 0) measured[(size_t)blockIdx.x * 5 + k] = sum;
        }
    }
}

// The sums of `blocks` blocks, added up: measured [blocks, 5] to sums [5]. One block of 960 threads.
ENTRY void adamw_sums(const double* measured, double* sums, int blocks) {
    __shared__ double scratch[960];
    double sum = 0;
    for (int i = threadIdx.x; i < blocks * 5; i += 960) sum += measured[i];
    scratch[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x >= 5) return;
    for (int i = threadIdx.x + 5; i < 960; i += 5) sum += scratch[i];
    sums[threadIdx.x] = sum;
}

#define STEP                                                                                                            \
    long long n, float factor, float keep_share, float beta1, float rest1, float beta2, float rest2, float eps,         \
        float step_size, float root_correction, long long key
#define THE_STEP                                                                                                        \
    n, {factor, keep_share, beta1, rest1, beta2, rest2, eps, step_size, root_correction, (unsigned long long)key}

#define ADAMW(G, M, NAME)                                                                                               \
    ENTRY void adamw_##NAME(float* p, bf16* copy, const G* g, M* m, M* v, STEP) {                                       \
        adamw<G, M, false>(p, copy, g, m, v, 0, 0, THE_STEP);                                                           \
    }                                                                                                                   \
    ENTRY void adamw_measured_##NAME(                                                                                   \
        float* p, bf16* copy, const G* g, M* m, M* v, const float* start, double* measured, STEP) {                     \
        adamw<G, M, true>(p, copy, g, m, v, start, measured, THE_STEP);                                                 \
    }

ADAMW(float, float, f32_f32)
ADAMW(float, bf16, f32_bf16)
ADAMW(bf16, float, bf16_f32)
ADAMW(bf16, bf16, bf16_bf16)
