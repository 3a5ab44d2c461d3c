// Cross-entropy of rows of logits [rows, v]; a negative target carries no loss. One block a row.

// Losses of the rows, and the logarithm of the sum of exponentials (for going back).
template <class T>
__device__ void cross_entropy_forward(const T* logits, const int* targets, float* losses, float* lse, int v) {
    __shared__ float scratch[32];
    int target = targets[blockIdx.x];
    if (target < 0) {
        if (threadIdx.x == 0) losses[blockIdx.x] = lse[blockIdx.x] = 0;
        return;
    }
    const T* row = logits + (size_t)blockIdx.x * v;
    float largest = -3.4e38f;
    for (int i = threadIdx.x; i < v; i += blockDim.x) largest = fmaxf(largest, wide(row[i]));
    largest = block_max(largest, scratch);
    float sum = 0;
    for (int i = threadIdx.x; i < v; i += blockDim.x) sum += expf(wide(row[i]) - largest);
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) {
        float total = largest + logf(sum);
        lse[blockIdx.x] = total;
        losses[blockIdx.x] = total - wide(row[target]);
    }
}

// d = (softmax(row) - onehot(target)) scale[0]; 0 in rows that carry no loss.
template <class T>
__device__ void cross_entropy_backward(const T* logits, const int* targets, const float* lse, const float* scale, T* d, int v) {
    int target = targets[blockIdx.x];
    size_t start = (size_t)blockIdx.x * v;
    float total = lse[blockIdx.x], factor = target < 0 ? 0.0f : scale[0];
    for (int i = threadIdx.x; i < v; i += blockDim.x) {
        float p = target < 0 ? 0.0f : expf(wide(logits[start + i]) - total);
        d[start + i] = narrow<T>((i == target ? p - 1.0f : p) * factor);
    }
}

#define CROSS_ENTROPY(T, NAME)                                                                                          \
    ENTRY void cross_entropy_forward_##NAME(const T* logits, const int* targets, float* losses, float* lse, int v) {    \
        cross_entropy_forward<T>(logits, targets, losses, lse, v);                                                      \
    }                                                                                                                   \
    ENTRY void cross_entropy_backward_##NAME(                                                                           \
        const T* logits, const int* targets, const float* lse, const float* scale, T* d, int v) {                       \
        cross_entropy_backward<T>(logits, targets, lse, scale, d, v);                                                   \
    }

CROSS_ENTROPY(float, f32)
CROSS_ENTROPY(bf16, bf16)
