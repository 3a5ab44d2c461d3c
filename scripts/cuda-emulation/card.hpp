// What the parts of the emulated card share (card.cpp).
#pragma once

#include <list>
#include <map>
#include <mutex>
#include <string>

#include "emulation.hpp"

namespace emulated {

using Address = unsigned long long;

// Codes of the driver's interface.
enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, NOT_FOUND = 500 };
enum { MAX_CARDS = 8 };
enum { COMPUTE_MAJOR = 75, COMPUTE_MINOR = 76, MEMORY_POOLS = 115 };
enum { RELEASE_THRESHOLD = 4, RESERVED_NOW = 5, RESERVED_HIGH = 6, USED_NOW = 7, USED_HIGH = 8 };

struct Span {
    std::size_t bytes, mapped;
    unsigned char* start;
    int card;
};

// One card of the machine.
struct Device {
    int number = 0;
    void* stream = nullptr;
    Address used = 0, used_high = 0, reserved_high = 0, most = 0, keep = 0;
};

// What a module's text says of a kernel, and its form for the CPU: two modules may have a kernel of one name, but not with the
// same parameters.
struct Kernel {
    const emulated::Entry* entry = nullptr;
    std::string name;
    std::vector<std::size_t> parameters;
    std::size_t shared = 0;
    Address launched = 0;
};

using Module = std::map<std::string, Kernel>;

struct Copies {
    Address count = 0, bytes = 0;
};

// All cards of the machine, under one lock.
struct Card {
    std::recursive_mutex lock;
    bool computes = true;
    std::map<Address, Span> memory;
    Device devices[MAX_CARDS];
    std::map<void*, int> streams;
    int count = 1;
    Address total = 139ull << 30, next = 0x100000000000ull;
    std::list<Module> modules;
    Address products = 0, waits = 0, allocations = 0, sums = 0;
    Copies to_card, to_host, on_card, set;
    const char* report = nullptr;
};

Card& card();

// The kernel that runs, or null.
extern const char* running;

[[noreturn]] void refuse(const std::string& what);

// An error that the driver would give back as well; what it is about is not in its code.
int invalid(const char* what);

// memory.cpp. The allocation that begins at or before an address, if it is long enough to hold it.
std::pair<const Address, Span>* around(Address at);
void belongs(const Span& span, const Device& device, const std::string& what);
// The allocation of `device` that `bytes` at `at` lie in.
Span* inside(Address at, std::size_t bytes, const char* what, const Device& device);
int allocate(Address* out, std::size_t bytes, Device& device);
int release(Address at, const Device& device);

// The card that is current on this thread.
extern thread_local Device* current;
Device& here();

// The card that a stream is of, which has no other.
Device& on(void* stream);

// Reads the kernels of a module's text (assembly.cpp).
Module read_module(const std::string& text);

}  // namespace emulated
