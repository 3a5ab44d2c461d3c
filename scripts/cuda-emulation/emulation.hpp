// Runs the CUDA sources of src/kernels/cuda on the CPU, one block at a time, every thread a coroutine: barriers, warp
// shuffles and tensor core products are places where a coroutine waits for the others. What CUDA forbids ends the program
// with a message: a barrier that some threads of a block never reach, lanes of a warp that wait at different places.
//
// Order of the threads between two barriers: COVFT_EMULATED_ORDER = 0 (all warps abreast), 1 (descending, each warp as far
// ahead as it can), 2... (shuffled with that seed, warps ahead by chance). A kernel that lacks a barrier gives wrong numbers
// in one of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#define COVFT_EMULATED 1
// Marks kernels where only their names are wanted.
#ifdef EMULATED_LIST
#define EMULATED_ENTRY EMULATED_ENTRY_MARK
#else
#define EMULATED_ENTRY
#endif
#define __device__
#define __forceinline__ inline
#define __align__(bytes) alignas(bytes)
#define __shared__ static thread_local
#define DYNAMIC_SHARED(name) unsigned char* name = emulated::dynamic_shared()

// Where the toolkit's own headers are in front (library.hpp), these are there already.
#ifndef EMULATED_TOOLKIT
using std::max;
using std::min;

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
#endif

namespace emulated {

struct Dim {
    unsigned x = 1, y = 1, z = 1;
};

enum class Wait { Nothing, Block, Warp, Done };

struct Fiber {
    void* stack_pointer = nullptr;
    void* stack = nullptr;
    Wait wait = Wait::Nothing;
    Dim index;
    int site = 0;
    // What a lane shows the others of its warp.
    alignas(16) unsigned char shown[64];
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<unsigned char> shared;
    // Stacks that no thread of the block is on.
    std::vector<void*> stacks;
    void* scheduler = nullptr;
    int current = 0;
    Dim block, threads, grid;
    void (*run)(void**) = nullptr;
    void** arguments = nullptr;
};

extern thread_local Block state;

extern "C" void covft_switch(void** from, void* to);

inline Fiber& self() {
    return state.fibers[state.current];
}

inline unsigned char* dynamic_shared() {
    // Aligned as a card's shared memory is.
    auto at = (reinterpret_cast<uintptr_t>(state.shared.data()) + 127) / 128 * 128;
    return reinterpret_cast<unsigned char*>(at);
}

inline void wait(Wait what, int site) {
    Fiber& fiber = self();
    fiber.wait = what;
    fiber.site = site;
    covft_switch(&fiber.stack_pointer, state.scheduler);
}

template <class T>
void show(const T& value) {
    static_assert(sizeof(T) <= 64, "what a lane shows");
    std::memcpy(self().shown, &value, sizeof(T));
}

// What `lane` of this warp shows.
template <class T>
T look(int lane) {
    T value;
    std::memcpy(&value, state.fibers[state.current / 32 * 32 + lane].shown, sizeof(T));
    return value;
}

template <class T>
T shuffle_xor(T value, int mask, int site) {
    show(value);
    wait(Wait::Warp, site);
    T other = look<T>((state.current % 32) ^ mask);
    wait(Wait::Warp, -site);
    return other;
}

template <class... A, std::size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<A>*>(arguments[I])...);
}

template <class... A>
void call(void (*kernel)(A...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<A...>{});
}

// A kernel by its name: how it is called, and the bytes of each of its parameters.
struct Entry {
    const char* name;
    void (*run)(void**);
    std::vector<std::size_t> parameters;
};

template <class... A>
std::vector<std::size_t> parameters(void (*)(A...)) {
    return {sizeof(A)...};
}

extern const std::vector<Entry> ENTRIES;

// Runs a kernel over a grid of blocks.
void run(const Entry& entry, Dim grid, Dim threads, unsigned shared, void** arguments);

}  // namespace emulated

#define threadIdx (emulated::self().index)
#define blockIdx (emulated::state.block)
#define blockDim (emulated::state.threads)
#define gridDim (emulated::state.grid)
#define __syncthreads() emulated::wait(emulated::Wait::Block, __LINE__)
#define __syncwarp() emulated::wait(emulated::Wait::Warp, __LINE__)
// With or without the width, which all kernels leave at a warp's.
#define __shfl_xor_sync(mask, value, lanes, ...) emulated::shuffle_xor(value, lanes, __LINE__)

inline float __uint_as_float(unsigned x) {
    float y;
    std::memcpy(&y, &x, 4);
    return y;
}

inline unsigned __float_as_uint(float x) {
    unsigned y;
    std::memcpy(&y, &x, 4);
    return y;
}

// As the manual of the instruction set lays out the fragments of m16n8k16.
inline void multiply(float* c, const unsigned* a, unsigned b0, unsigned b1) {
    struct Fragments {
        unsigned a[4], b[2];
    };
    emulated::show(Fragments{{a[0], a[1], a[2], a[3]}, {b0, b1}});
    emulated::wait(emulated::Wait::Warp, 100000);
    int lane = emulated::state.current % 32, group = lane / 4, place = lane % 4;
    auto half = [](unsigned word, int i) { return __uint_as_float(i ? word & 0xffff0000u : word << 16); };
    auto left = [&](int row, int k) {
        auto of = emulated::look<Fragments>(row % 8 * 4 + k % 8 / 2);
        return half(of.a[row / 8 + k / 8 * 2], k % 2);
    };
    auto right = [&](int k, int column) {
        auto of = emulated::look<Fragments>(column * 4 + k % 8 / 2);
        return half(of.b[k / 8], k % 2);
    };
    for (int i = 0; i < 4; ++i) {
        int row = group + i / 2 * 8, column = place * 2 + i % 2;
        float sum = 0;
        for (int k = 0; k < 16; ++k) sum += left(row, k) * right(k, column);
        c[i] += sum;
    }
    emulated::wait(emulated::Wait::Warp, 100001);
}
