// Count sketches, as src/kernels/sketch.rs defines them: sixteen coordinates share a hash, which gives a bucket and sixteen
// signs. A block is one warp with a table of its own in shared memory, so that nothing is added atomically and the same
// numbers give the same sums; the tables of a tensor are added afterwards, in order.

#define RUN 16

// Table of block i: coordinates of runs i `runs`.. + `runs` of x [n], in tables [gridDim.x, buckets + 16]: the last sixteen
// stand for the first. Sums of squares in double, one a block.
template <class T>
__device__ void sketch(const T* x, float* tables, double* squares, long long n, long long key, int buckets, int runs) {
    DYNAMIC_SHARED(memory);
    float* sums = (float*)memory;
    int lane = threadIdx.x, length = buckets + RUN;
    for (int i = lane; i < length; i += 32) sums[i] = 0;
    __syncwarp();
    long long run = (long long)blockIdx.x * runs, end = (n + RUN - 1) / RUN;
    end = run + runs < end ? run + runs : end;
    double square = 0;
    for (; run < end; run += 8) {
        float values[4];
#pragma unroll
        for (int pair = 0; pair < 4; ++pair) {
            long long i = (run + 2 * pair) * RUN + lane;
            values[pair] = run + 2 * pair + lane / RUN < end && i < n ? wide(x[i]) : 0.0f;
        }
#pragma unroll
        for (int pair = 0; pair < 4; ++pair) {
            long long own = run + 2 * pair + lane / RUN;
            unsigned long long hash =
                mix((unsigned long long)key + (unsigned long long)(own + 1) * 0x9E3779B97F4A7C15ull);
            int bucket = (int)(((hash >> 32) * (unsigned long long)buckets) >> 32) + lane % RUN;
            float value = values[pair];
            square += (double)value * value;
            if ((unsigned)hash >> (lane % RUN) & 1u) value = -value;
            // Two runs may meet in a bucket: one after the other.
            for (int half = 0; half < 2; ++half) {
                if (lane / RUN == half && own < end) sums[bucket] += value;
                __syncwarp();
            }
        }
    }
    square = warp_sum(square);
    if (lane == 0) squares[blockIdx.x] = square;
    for (int i = lane; i < length; i += 32) tables[(size_t)blockIdx.x * length + i] = sums[i];
}

#define SKETCH(T, NAME)                                                                                                 \
    ENTRY void sketch_##NAME(                                                                                           \
        const T* x, float* tables, double* squares, long long n, long long key, int buckets, int runs) {                \
        sketch<T>(x, tables, squares, n, key, buckets, runs);                                                           \
    }

SKETCH(float, f32)
SKETCH(bf16, bf16)
