// What all kernels share. Compiled at run time for the card at hand, without any header of the toolkit; the emulation on
// the CPU (scripts/cuda-emulation) compiles the same text.
//
// Numbers are kept as float or bfloat16 and computed with as float. Sums have a fixed order: no atomic additions.

#ifdef COVFT_EMULATED
#define ENTRY EMULATED_ENTRY
#else
#define ENTRY extern "C" __global__
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

// Bits of a bfloat16: the upper half of a float.
struct bf16 {
    unsigned short bits;
};

__device__ __forceinline__ float wide(float x) {
    return x;
}

__device__ __forceinline__ float wide(bf16 x) {
    return __uint_as_float((unsigned)x.bits << 16);
}

// To the nearest, ties to even; NaN stays NaN.
__device__ __forceinline__ unsigned bf16_bits(float x) {
    unsigned bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (bits >> 16) | 0x40u;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

template <class T>
__device__ __forceinline__ T narrow(float x);

template <>
__device__ __forceinline__ float narrow<float>(float x) {
    return x;
}

template <>
__device__ __forceinline__ bf16 narrow<bf16>(float x) {
    bf16 y;
    y.bits = (unsigned short)bf16_bits(x);
    return y;
}

// N numbers that are read and written at once.
template <int N, class T>
struct __align__(N * sizeof(T)) Pack {
    T at[N];
};

template <int N, class T>
__device__ __forceinline__ Pack<N, T> load(const T* from) {
    return *(const Pack<N, T>*)from;
}

template <int N, class T>
__device__ __forceinline__ void store(T* to, const Pack<N, T>& pack) {
    *(Pack<N, T>*)to = pack;
}

template <int N>
struct Width {
    static const int value = N;
};

// Whether sixteen bytes can be read at once at `at` (also if there is nothing).
__device__ __forceinline__ bool aligned(const void* at) {
    return (unsigned long long)at % 16 == 0;
}

// A loop over n elements of type T by all threads of the grid: `body(Width<N>(), i)` does N of them from number i on, sixteen
// bytes of them as long as that is possible and `packs` says that it may, one by one after that.
template <class T, class Body>
__device__ __forceinline__ void over(long long n, bool packs, Body body) {
    const int N = 16 / sizeof(T);
    long long stride = (long long)gridDim.x * blockDim.x, thread = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    long long whole = packs ? n / N : 0;
    for (long long i = thread; i < whole; i += stride) body(Width<N>(), i * N);
    for (long long i = whole * N + thread; i < n; i += stride) body(Width<1>(), i);
}

// Mixes 64 bits (the finaliser of SplitMix64).
__device__ __forceinline__ unsigned long long mix(unsigned long long z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

__device__ __forceinline__ float warp_sum(float x) {
    for (int step = 16; step > 0; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

__device__ __forceinline__ double warp_sum(double x) {
    for (int step = 16; step > 0; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
    for (int step = 16; step > 0; step >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

// The sum over a block of whole warps, in every thread. `scratch` holds one number a warp; it may be used again at once.
template <class T>
__device__ __forceinline__ T block_sum(T x, T* scratch) {
    x = warp_sum(x);
    int warps = blockDim.x / 32;
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0;
    for (int w = 0; w < warps; ++w) x += scratch[w];
    __syncthreads();
    return x;
}

__device__ __forceinline__ float block_max(float x, float* scratch) {
    x = warp_max(x);
    int warps = blockDim.x / 32;
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
    __syncthreads();
    x = scratch[0];
    for (int w = 1; w < warps; ++w) x = fmaxf(x, scratch[w]);
    __syncthreads();
    return x;
}
