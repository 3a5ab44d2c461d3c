// Elementwise activations. `kind`: 0 QuickGELU, 1 GELU with the error function, 2 GELU with tanh.

__device__ __forceinline__ float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

__device__ __forceinline__ float activate(float x, int kind) {
    if (kind == 0) return x * sigmoid(1.702f * x);
    if (kind == 1) return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    float u = 0.79788456080286536f * (x + 0.044715f * x * x * x);
    return 0.5f * x * (1.0f + tanhf(u));
}

__device__ __forceinline__ float slope(float x, int kind) {
    if (kind == 0) {
        float s = sigmoid(1.702f * x);
        return s + 1.702f * x * s * (1.0f - s);
    }
    if (kind == 1) {
        // Beyond 12 the density is 0 in float; x * 0 must not become NaN for infinite x.
        float density = fabsf(x) > 12.0f ? 0.0f : x * 0.39894228040143268f * expf(-0.5f * x * x);
        return 0.5f * (1.0f + erff(x * 0.70710678118654752f)) + density;
    }
    float t = tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x));
    float inner = fabsf(x) > 12.0f ? 0.0f : 0.79788456080286536f * (1.0f + 0.134145f * x * x) * x * (1.0f - t * t);
    return 0.5f * (1.0f + t) + 0.5f * inner;
}

template <class T>
__device__ void activation_forward(const T* x, T* y, long long n, int kind) {
    over<T>(n, aligned(x) && aligned(y), [&](auto width, long long i) {
        const int N = decltype(width)::value;
        Pack<N, T> v = load<N>(x + i);
#pragma unroll
        for (int j = 0; j < N; ++j) v.at[j] = narrow<T>(activate(wide(v.at[j]), kind));
        store<N>(y + i, v);
    });
}

template <class T>
__device__ void activation_backward(const T* x, const T* dy, T* dx, long long n, int kind) {
    over<T>(n, aligned(x) && aligned(dy) && aligned(dx), [&](auto width, long long i) {
        const int N = decltype(width)::value;
        Pack<N, T> v = load<N>(x + i), d = load<N>(dy + i);
#pragma unroll
        for (int j = 0; j < N; ++j) d.at[j] = narrow<T>(slope(wide(v.at[j]), kind) * wide(d.at[j]));
        store<N>(dx + i, d);
    });
}

// y = silu(gate) up.
template <class T>
__device__ void silu_mul_forward(const T* gate, const T* up, T* y, long long n) {
    over<T>(n, aligned(gate) && aligned(up) && aligned(y), [&](auto width, long long i) {
        const int N = decltype(width)::value;
        Pack<N, T> gates = load<N>(gate + i), values = load<N>(up + i);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            float g = wide(gates.at[j]);
            values.at[j] = narrow<T>(g * sigmoid(g) * wide(values.at[j]));
        }
        store<N>(y + i, values);
    });
}

template <class T>
__device__ void silu_mul_backward(const T* gate, const T* up, const T* dy, T* d_gate, T* d_up, long long n) {
    bool packs = aligned(gate) && aligned(up) && aligned(dy) && aligned(d_gate) && aligned(d_up);
    over<T>(n, packs, [&](auto width, long long i) {
        const int N = decltype(width)::value;
        Pack<N, T> gates = load<N>(gate + i), values = load<N>(up + i), grads = load<N>(dy + i);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            float g = wide(gates.at[j]), d = wide(grads.at[j]), s = sigmoid(g);
            gates.at[j] = narrow<T>(d * wide(values.at[j]) * s * (1.0f + g * (1.0f - s)));
            values.at[j] = narrow<T>(d * g * s);
        }
        store<N>(d_gate + i, gates);
        store<N>(d_up + i, values);
    });
}

#define ACTIVATION(T, NAME)                                                                                             \
    ENTRY void activation_forward_##NAME(const T* x, T* y, long long n, int kind) {                                     \
        activation_forward<T>(x, y, n, kind);                                                                           \
    }                                                                                                                   \
    ENTRY void activation_backward_##NAME(const T* x, const T* dy, T* dx, long long n, int kind) {                      \
        activation_backward<T>(x, dy, dx, n, kind);                                                                     \
    }                                                                                                                   \
    ENTRY void silu_mul_forward_##NAME(const T* gate, const T* up, T* y, long long n) {                                 \
        silu_mul_forward<T>(gate, up, y, n);                                                                            \
    }                                                                                                                   \
    ENTRY void silu_mul_backward_##NAME(                                                                                \
        const T* gate, const T* up, const T* dy, T* d_gate, T* d_up, long long n) {                                     \
        silu_mul_backward<T>(gate, up, dy, d_gate, d_up, n);                                                            \
    }

ACTIVATION(float, f32)
ACTIVATION(bf16, bf16)
