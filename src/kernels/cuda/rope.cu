// Rotary embedding, "rotate half": (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin) for every head; backward turns back
// (`direction` -1). x [b, n, heads, 2 half]; cos, sin [n, half] of the tokens at hand. A pair a thread.

template <class T>
__device__ void rope(const T* x, const float* cosine, const float* sine, T* y, long long pairs, int n, int heads, int half, float direction) {
    long long stride = (long long)gridDim.x * blockDim.x;
    for (long long p = (long long)blockIdx.x * blockDim.x + threadIdx.x; p < pairs; p += stride) {
        int i = (int)(p % half);
        long long head = p / half;
        int token = (int)(head / heads % n);
        float c = cosine[(size_t)token * half + i], s = direction * sine[(size_t)token * half + i];
        size_t one = (size_t)head * 2 * half + i, two = one + half;
        float a = wide(x[one]), b = wide(x[two]);
        y[one] = narrow<T>(a * c - b * s);
        y[two] = narrow<T>(b * c + a * s);
    }
}

#define ROPE(T, NAME)                                                                                                   \
    ENTRY void rope_##NAME(                                                                                             \
        const T* x, const float* cosine, const float* sine, T* y, long long pairs, int n, int heads, int half,          \
        float direction) {                                                                                              \
        rope<T>(x, cosine, sine, y, pairs, n, heads, half, direction);                                                  \
    }

ROPE(float, f32)
ROPE(bf16, bf16)
