// In front of the tensor library's own kernels: the toolkit's headers as a host compiler sees them, what they lack there, and
// then emulation.hpp. One thread of the host runs a block after the other, so an atomic operation is a plain one.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cassert>
#include <cmath>
#include <cstdint>
#include <cuda/std/limits>

#undef __device__
#undef __host__
#undef __global__
#undef __shared__
#undef __align__
#undef __forceinline__
#undef __launch_bounds__
#define EMULATED_TOOLKIT
#include "emulation.hpp"
#define __host__
#define __global__ EMULATED_ENTRY

// As a compiler for compute capability 9.0 would have it.
#define __CUDA_ARCH__ 900
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0

using std::isnan;
using std::signbit;

template <class A, class B>
auto max(A a, B b) {
    return a < b ? b : a;
}

template <class A, class B>
auto min(A a, B b) {
    return b < a ? b : a;
}

template <class To, class From>
To emulated_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "the same bytes, read otherwise");
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}

inline float __int_as_float(int x) { return emulated_bits<float>(x); }
inline int __float_as_int(float x) { return emulated_bits<int>(x); }
inline double __longlong_as_double(long long x) { return emulated_bits<double>(x); }
inline long long __double_as_longlong(double x) { return emulated_bits<long long>(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double normcdf(double x) { return 0.5 * std::erfc(-x * M_SQRT1_2); }
inline float normcdff(float x) { return float(normcdf(double(x))); }

template <class T>
T atomicAdd(T* at, T x) {
    T old = *at;
    *at = old + x;
    return old;
}

template <class T, class X>
T atomicMax(T* at, X x) {
    T old = *at;
    *at = max(old, T(x));
    return old;
}

template <class T, class X>
T atomicMin(T* at, X x) {
    T old = *at;
    *at = min(old, T(x));
    return old;
}

template <class T>
T atomicCAS(T* at, T expected, T x) {
    T old = *at;
    if (old == expected) *at = x;
    return old;
}

// Functions of the 16-bit types that the toolkit has for devices alone: through float, rounded once.
#define EMULATED_HALF(NAME, FUNCTION)                                                                                   \
    inline __half NAME(__half x) { return __float2half(FUNCTION(__half2float(x))); }                                   \
    inline __nv_bfloat16 NAME(__nv_bfloat16 x) { return __float2bfloat16(FUNCTION(__bfloat162float(x))); }
EMULATED_HALF(hsqrt, std::sqrt)
EMULATED_HALF(hsin, std::sin)
EMULATED_HALF(hcos, std::cos)
EMULATED_HALF(hexp, std::exp)
EMULATED_HALF(hlog, std::log)
