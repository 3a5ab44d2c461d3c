// A CUDA card made of the CPU: the functions of the driver's library (libcuda.so.1) that this project's programs call, so that
// a program built with `--features cuda` runs where there is no card. Work is done when it is queued. Kernels are those of
// emulation.hpp, looked up by name; what the compiler for cards says of them (names, bytes of each parameter, shared memory)
// must agree. The program ends with a message at: work on two streams, addresses beyond an allocation (each lies before a
// page that cannot be touched), copies over its end, freeing twice.
//
//   COVFT_EMULATED_CARD=counts   memory is counted but not there, and nothing is computed: every number read is 0. For sizes
//                                that no CPU computes; what is allocated, launched, copied and waited for is exact.
//   COVFT_EMULATED_REPORT=FILE   writes at the end what was launched, copied and waited for
//   COVFT_EMULATED_MEMORY=BYTES  what the card has (default 139 GiB, as an H200 offers): more is out of memory
//   COVFT_EMULATED_CARDS=N       how many cards the machine has (default 1, at most 8). Memory belongs to one of them: work that
//                                is queued on another and reaches it ends the program
#include "card.hpp"

#include <signal.h>
#include <unistd.h>

namespace emulated {

Card& card() {
    static Card the;
    return the;
}

const char* running = nullptr;

[[noreturn]] void refuse(const std::string& what) {
    std::fprintf(stderr, "emulated card: %s%s%s\n", what.c_str(), running ? ", in " : "", running ? running : "");
    std::abort();
}

int invalid(const char* what) {
    std::fprintf(stderr, "emulated card: %s%s%s\n", what, running ? ", in " : "", running ? running : "");
    return INVALID_VALUE;
}

}  // namespace emulated

using namespace emulated;

namespace {

void fault(int) {
    // Only what is allowed in a handler.
    const char* name = running ? running : "the host";
    const char text[] = "emulated card: an address that is not there, in ";
    if (write(2, text, sizeof(text) - 1) < 0 || write(2, name, std::strlen(name)) < 0 || write(2, "\n", 1) < 0) _exit(135);
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
}

void tell() {
    Card& c = card();
    FILE* out = std::fopen(c.report, "w");
    if (!out) return;
    Address launches = 0;
    for (auto& module : c.modules) {
        for (auto& [name, kernel] : module) launches += kernel.launched;
    }
    std::fprintf(out, "kernels\t%llu\nproducts\t%llu\nwaits\t%llu\n", launches, c.products, c.waits);
    std::fprintf(out, "allocations\t%llu\n", c.allocations);
    for (int i = 0; i < c.count; ++i) std::fprintf(out, "most bytes\t%llu\n", c.devices[i].most);
    if (c.sums) std::fprintf(out, "sums over cards\t%llu\n", c.sums);
    std::pair<const char*, Copies*> copies[] = {
        {"to the card", &c.to_card}, {"to the host", &c.to_host}, {"on the card", &c.on_card}, {"set", &c.set}};
    for (auto& [name, n] : copies) std::fprintf(out, "%s\t%llu\t%llu bytes\n", name, n->count, n->bytes);
    for (auto& module : c.modules) {
        for (auto& [name, kernel] : module) {
            if (kernel.launched) std::fprintf(out, "kernel %s\t%llu\n", name.c_str(), kernel.launched);
        }
    }
    std::fclose(out);
}

}  // namespace

#define LOCKED std::lock_guard<std::recursive_mutex> held(card().lock)

extern "C" {

// For blas.cpp: whether numbers are there to compute with.
int covft_card_computes() {
    return card().computes;
}

// For blas.cpp: checks that operands of a product lie in allocations, and counts it.
void covft_card_product(void* stream, const char* name, int operands, const void* const* at, const std::size_t* bytes) {
    LOCKED;
    Device& device = on(stream);
    for (int i = 0; i < operands; ++i) inside(reinterpret_cast<Address>(at[i]), bytes[i], name, device);
    ++card().products;
}

// For nccl.cpp: the same of one member's part of a sum, which must lie on its card and be queued there.
void covft_card_sum(void* stream, int number, const void* at, std::size_t bytes) {
    LOCKED;
    Device& device = on(stream);
    if (device.number != number) refuse("a sum is queued on another card than its communicator's");
    inside(reinterpret_cast<Address>(at), bytes, "a sum over cards", device);
    ++card().sums;
}

int cuInit(unsigned) {
    LOCKED;
    Card& c = card();
    const char* mode = std::getenv("COVFT_EMULATED_CARD");
    c.computes = !(mode && std::string(mode) == "counts");
    if (const char* cards = std::getenv("COVFT_EMULATED_CARDS")) c.count = std::min(std::max(std::atoi(cards), 1), int(MAX_CARDS));
    for (int i = 0; i < c.count; ++i) c.devices[i].number = i;
    if (const char* total = std::getenv("COVFT_EMULATED_MEMORY")) c.total = std::strtoull(total, nullptr, 10);
    if (!c.report && (c.report = std::getenv("COVFT_EMULATED_REPORT"))) std::atexit(tell);
    struct sigaction action = {};
    action.sa_handler = fault;
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGSEGV, &action, nullptr);
    return SUCCESS;
}

int cuGetErrorString(int code, const char** text) {
    *text = code == OUT_OF_MEMORY ? "out of memory (emulated card)"
            : code == NOT_FOUND   ? "named symbol not found (emulated card)"
            : code == NO_DEVICE   ? "no such device (emulated card)"
                                  : "invalid argument (emulated card)";
    return SUCCESS;
}

// The run-time compiler asks for the driver's cache; without one it compiles.
int cuGetExportTable(const void** table, const void*) {
    *table = nullptr;
    return NOT_FOUND;
}

int cuDeviceGet(int* device, int ordinal) {
    *device = ordinal;
    return ordinal >= 0 && ordinal < card().count ? SUCCESS : NO_DEVICE;
}

int cuDeviceCanAccessPeer(int* can, int, int) {
    *can = 1;
    return SUCCESS;
}

// A pool opens to cards that the machine has, to be read and written.
int cuMemPoolSetAccess(void*, const int* descriptions, std::size_t count) {
    LOCKED;
    for (std::size_t i = 0; i < count; ++i) {
        const int* d = descriptions + 3 * i;  // kind of place, number, flags
        if (d[0] != 1 || d[1] < 0 || d[1] >= card().count || d[2] != 3) return invalid("access of a memory pool");
    }
    return SUCCESS;
}

int cuDeviceGetAttribute(int* value, int attribute, int) {
    switch (attribute) {
        case COMPUTE_MAJOR: *value = 9; return SUCCESS;
        case COMPUTE_MINOR: *value = 0; return SUCCESS;
        case MEMORY_POOLS: *value = 1; return SUCCESS;
        default: refuse("attribute " + std::to_string(attribute) + " of the device is not known here");
    }
}

int cuDevicePrimaryCtxRetain(void** context, int device) {
    *context = &card().devices[device];
    return SUCCESS;
}

int cuDevicePrimaryCtxRelease_v2(int) {
    return SUCCESS;
}

int cuCtxSetCurrent(void* context) {
    current = static_cast<Device*>(context);
    return SUCCESS;
}

int cuCtxGetCurrent(void** context) {
    *context = current;
    return SUCCESS;
}

int cuCtxDestroy_v2(void*) {
    return SUCCESS;
}

int cuCtxSynchronize() {
    LOCKED;
    ++card().waits;
    return SUCCESS;
}

int cuStreamCreate(void** stream, unsigned) {
    LOCKED;
    *stream = reinterpret_cast<void*>(0x5000 + card().streams.size());
    card().streams[*stream] = here().number;
    return SUCCESS;
}

int cuStreamDestroy_v2(void*) {
    return SUCCESS;
}

int cuStreamSynchronize(void*) {
    LOCKED;
    ++card().waits;
    return SUCCESS;
}

int cuStreamWaitEvent(void*, void*, unsigned) {
    return SUCCESS;
}

int cuStreamIsCapturing(void*, int* status) {
    *status = 0;
    return SUCCESS;
}

int cuEventCreate(void** event, unsigned) {
    *event = &card();
    return SUCCESS;
}

int cuEventDestroy_v2(void*) {
    return SUCCESS;
}

int cuEventRecord(void*, void*) {
    return SUCCESS;
}

int cuMemAlloc_v2(Address* at, std::size_t bytes) {
    LOCKED;
    return allocate(at, bytes, here());
}

int cuMemAllocAsync(Address* at, std::size_t bytes, void* stream) {
    LOCKED;
    return allocate(at, bytes, on(stream));
}

int cuMemFree_v2(Address at) {
    LOCKED;
    return release(at, here());
}

int cuMemFreeAsync(Address at, void* stream) {
    LOCKED;
    return release(at, on(stream));
}

static void counted(Copies& copies, std::size_t bytes) {
    ++copies.count;
    copies.bytes += bytes;
}

int cuMemcpyHtoDAsync_v2(Address to, const void* from, std::size_t bytes, void* stream) {
    LOCKED;
    inside(to, bytes, "copy to the card", on(stream));
    counted(card().to_card, bytes);
    if (card().computes) std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return SUCCESS;
}

int cuMemcpyDtoHAsync_v2(void* to, Address from, std::size_t bytes, void* stream) {
    LOCKED;
    inside(from, bytes, "copy to the host", on(stream));
    counted(card().to_host, bytes);
    if (card().computes) {
        std::memcpy(to, reinterpret_cast<void*>(from), bytes);
    } else {
        std::memset(to, 0, bytes);
    }
    return SUCCESS;
}

int cuMemcpyDtoDAsync_v2(Address to, Address from, std::size_t bytes, void* stream) {
    LOCKED;
    Device& device = on(stream);
    inside(from, bytes, "copy on the card, from", device);
    inside(to, bytes, "copy on the card, to", device);
    counted(card().on_card, bytes);
    if (card().computes) std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes);
    return SUCCESS;
}

int cuMemcpyPeerAsync(Address, void*, Address, void*, std::size_t, void*) {
    refuse("a copy between two cards");
}

int cuMemsetD8Async(Address at, unsigned char value, std::size_t bytes, void* stream) {
    LOCKED;
    inside(at, bytes, "setting bytes", on(stream));
    counted(card().set, bytes);
    if (card().computes) std::memset(reinterpret_cast<void*>(at), value, bytes);
    return SUCCESS;
}

int cuDeviceGetDefaultMemPool(void** pool, int device) {
    *pool = &card().devices[device];
    return SUCCESS;
}

int cuMemPoolGetAttribute(void* pool, int attribute, Address* value) {
    LOCKED;
    Device& c = *static_cast<Device*>(pool);
    switch (attribute) {
        case RELEASE_THRESHOLD: *value = c.keep; return SUCCESS;
        // What a pool holds beyond what is in use is up to the card's allocator: nothing, here.
        case RESERVED_NOW:
        case USED_NOW: *value = c.used; return SUCCESS;
        case RESERVED_HIGH: *value = c.reserved_high; return SUCCESS;
        case USED_HIGH: *value = c.used_high; return SUCCESS;
        default: return invalid("an unknown attribute of the memory pool");
    }
}

int cuMemPoolSetAttribute(void* pool, int attribute, Address* value) {
    LOCKED;
    Device& c = *static_cast<Device*>(pool);
    switch (attribute) {
        case RELEASE_THRESHOLD: c.keep = *value; return SUCCESS;
        case RESERVED_HIGH:
        case USED_HIGH:
            if (*value != 0) return invalid("a high-water mark can be set to 0 alone");
            (attribute == USED_HIGH ? c.used_high : c.reserved_high) = c.used;
            return SUCCESS;
        default: return invalid("an unknown attribute of the memory pool");
    }
}

int cuModuleLoad(void**, const char*) {
    refuse("a module from a file");
}

int cuModuleLoadData(void** module, const void* text) {
    LOCKED;
    card().modules.push_back(read_module(static_cast<const char*>(text)));
    *module = &card().modules.back();
    return SUCCESS;
}

int cuModuleUnload(void*) {
    return SUCCESS;
}

int cuModuleGetFunction(void** function, void* module, const char* name) {
    LOCKED;
    auto& kernels = *static_cast<Module*>(module);
    auto found = kernels.find(name);
    if (found == kernels.end()) return NOT_FOUND;
    *function = &found->second;
    return SUCCESS;
}

int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void* stream, void** arguments, void**) {
    LOCKED;
    Device& device = on(stream);
    auto* kernel = static_cast<Kernel*>(function);
    running = kernel->name.c_str();
    if (!gx || !gy || !gz || !bx || !by || !bz) return invalid("an empty grid");
    if (gx > 0x7fffffff || gy > 65535 || gz > 65535) return invalid("too large a grid");
    if (bx > 1024 || by > 1024 || bz > 64 || std::size_t(bx) * by * bz > 1024) return invalid("too large a block");
    if (kernel->shared + shared > 48 * 1024) return invalid("more than 48 KiB of shared memory");
    // Whatever looks like an address must be one of this card.
    for (std::size_t i = 0; i < kernel->parameters.size(); ++i) {
        if (kernel->parameters[i] != sizeof(Address)) continue;
        Address value;
        std::memcpy(&value, arguments[i], sizeof(value));
        if (auto* found = around(value)) belongs(found->second, device, "an argument");
    }
    ++kernel->launched;
    if (card().computes) {
        if (!kernel->entry) refuse("a kernel that has no form for the CPU");
        emulated::run(*kernel->entry, {gx, gy, gz}, {bx, by, bz}, shared, arguments);
    }
    running = nullptr;
    return SUCCESS;
}

}  // extern "C"
