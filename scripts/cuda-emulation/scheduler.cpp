// The scheduler of emulation.hpp, and the one function that the library of kernels gives out.
#include "emulation.hpp"

namespace emulated {

thread_local Block state;

// Stacks begin at different places of a page: else all of them would fight for the same lines of the cache.
constexpr std::size_t STACK = 64 * 1024 + 4096;

// Saves the callee's registers on the stack and goes over to another one (x86-64, System V).
asm(R"(
.text
.globl covft_switch
.hidden covft_switch
.type covft_switch, @function
covft_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size covft_switch, .-covft_switch
)");

static void enter() {
    state.run(state.arguments);
    self().wait = Wait::Done;
    covft_switch(&self().stack_pointer, state.scheduler);
    std::abort();
}

// A thread gets a stack when it first runs and leaves it when it is done: threads that wait for nobody share one.
static void start(Fiber& fiber) {
    if (state.stacks.empty()) {
        static thread_local std::size_t made = 0;
        auto* bottom = static_cast<unsigned char*>(std::malloc(STACK));
        state.stacks.push_back(bottom + STACK - made++ * 320 % 4096);
    }
    fiber.stack = state.stacks.back();
    state.stacks.pop_back();
    auto* at = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(fiber.stack) / 16 * 16);
    *--at = nullptr;  // alignment: a function is entered with the stack 8 off a multiple of 16
    *--at = reinterpret_cast<void*>(&enter);
    for (int i = 0; i < 6; ++i) *--at = nullptr;
    fiber.stack_pointer = at;
}

[[noreturn]] static void refuse(const char* entry, const char* what) {
    std::fprintf(stderr, "emulated kernel %s: %s (block %u %u %u)\n", entry, what, state.block.x, state.block.y, state.block.z);
    std::abort();
}

// Lets go a warp whose lanes all wait for each other.
static bool release_warp(const char* entry, std::size_t first) {
    Fiber* lanes = &state.fibers[first];
    int lane_count = std::min<std::size_t>(32, state.fibers.size() - first), waiting = 0;
    for (int i = 0; i < lane_count; ++i) waiting += lanes[i].wait == Wait::Warp;
    if (waiting < 32) return false;
    for (int i = 0; i < 32; ++i) {
        if (lanes[i].site != lanes[0].site) refuse(entry, "lanes of a warp wait at different places");
    }
    for (int i = 0; i < 32; ++i) lanes[i].wait = Wait::Nothing;
    return true;
}

// Lets go a block whose threads all wait at one barrier.
static bool release_block(const char* entry) {
    for (const Fiber& fiber : state.fibers) {
        if (fiber.wait != Wait::Block) return false;
        if (fiber.site != state.fibers[0].site) refuse(entry, "threads of a block wait at different barriers");
    }
    for (Fiber& fiber : state.fibers) fiber.wait = Wait::Nothing;
    return true;
}

// Runs the lanes of a warp until each waits or is done; whether any of them moved.
static bool step_warp(std::size_t first, const std::vector<int>& lanes) {
    bool moved = false;
    for (int lane : lanes) {
        if (first + lane >= state.fibers.size()) continue;
        Fiber& fiber = state.fibers[first + lane];
        if (fiber.wait != Wait::Nothing) continue;
        if (!fiber.stack) start(fiber);
        state.current = first + lane;
        covft_switch(&state.scheduler, fiber.stack_pointer);
        if (fiber.wait == Wait::Done) state.stacks.push_back(std::exchange(fiber.stack, nullptr));
        moved = true;
    }
    return moved;
}

// Order 0: all warps abreast, ascending. Order 1: descending, and a warp runs as far ahead as it can before another moves.
// Further orders: warps and lanes shuffled, a warp runs ahead by chance.
static void run_block(const char* entry, int order) {
    std::size_t count = state.fibers.size();
    std::fill(state.shared.begin(), state.shared.end(), 0xff);  // NaN: what is read before it is written shows
    for (std::size_t i = 0; i < count; ++i) {
        state.fibers[i].wait = Wait::Nothing;
    }
    std::mt19937 random(order + 31 * state.block.x + 17 * state.block.y);
    std::vector<std::size_t> warps;
    std::vector<int> lanes;
    for (std::size_t first = 0; first < count; first += 32) warps.push_back(first);
    for (int i = 0; i < 32; ++i) lanes.push_back(i);
    if (order == 1) {
        std::reverse(warps.begin(), warps.end());
        std::reverse(lanes.begin(), lanes.end());
    }
    for (;;) {
        bool moved = false;
        if (order > 1) {
            std::shuffle(warps.begin(), warps.end(), random);
            std::shuffle(lanes.begin(), lanes.end(), random);
        }
        for (std::size_t first : warps) {
            do {
                moved |= step_warp(first, lanes);
            } while (release_warp(entry, first) && (moved = true) && (order == 1 || (order > 1 && random() % 4 != 0)));
        }
        if (moved) continue;
        bool done = std::all_of(state.fibers.begin(), state.fibers.end(), [](const Fiber& f) { return f.wait == Wait::Done; });
        if (done) return;
        if (!release_block(entry)) refuse(entry, "some threads wait at a barrier that others never reach");
    }
}

void run(const Entry& entry, Dim grid, Dim threads, unsigned shared, void** arguments) {
    std::size_t count = std::size_t(threads.x) * threads.y * threads.z;
    if (count > 1024) refuse(entry.name, "more than 1024 threads a block");
    if (shared > 48 * 1024) refuse(entry.name, "more than 48 KiB of dynamic shared memory");
    static const char* chosen = std::getenv("COVFT_EMULATED_ORDER");
    static const int order = chosen ? std::atoi(chosen) : 0;
    state.run = entry.run;
    state.arguments = arguments;
    state.threads = threads;
    state.grid = grid;
    state.fibers.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
        auto n = unsigned(i);
        state.fibers[i].index = {n % threads.x, n / threads.x % threads.y, n / threads.x / threads.y};
    }
    state.shared.assign(shared + 128, 0);
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) {
                state.block = {x, y, z};
                run_block(entry.name, order);
            }
}

}  // namespace emulated

// 0 if there is such a kernel, which has then run; 1 if not.
extern "C" int covft_emulate(const char* name, const unsigned* grid, unsigned threads, unsigned shared, void** arguments) {
    for (const emulated::Entry& entry : emulated::ENTRIES) {
        if (std::strcmp(entry.name, name) == 0) {
            if (threads % 32 != 0) emulated::refuse(name, "a block is not whole warps");
            emulated::run(entry, {grid[0], grid[1], grid[2]}, {threads, 1, 1}, shared, arguments);
            return 0;
        }
    }
    return 1;
}
