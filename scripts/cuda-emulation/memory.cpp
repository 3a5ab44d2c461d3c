// The emulated cards' memory, and whose it is.
#include "card.hpp"

#include <sys/mman.h>

namespace emulated {

thread_local Device* current = nullptr;

std::pair<const Address, Span>* around(Address at) {
    auto& memory = card().memory;
    auto after = memory.upper_bound(at);
    if (after == memory.begin()) return nullptr;
    auto& found = *std::prev(after);
    return at < found.first + std::max<std::size_t>(found.second.bytes, 1) ? &found : nullptr;
}

void belongs(const Span& span, const Device& device, const std::string& what) {
    if (span.card == device.number) return;
    refuse(what + ": memory of card " + std::to_string(span.card) + " in work of card " + std::to_string(device.number));
}

Span* inside(Address at, std::size_t bytes, const char* what, const Device& device) {
    auto* found = around(at);
    if (!found) refuse(std::string(what) + ": no allocation there");
    auto& [start, span] = *found;
    if (at + bytes > start + span.bytes) refuse(std::string(what) + ": over the end of an allocation");
    belongs(span, device, what);
    return &span;
}

Device& on(void* stream) {
    Card& c = card();
    auto found = c.streams.find(stream);
    if (found == c.streams.end()) refuse("work on a stream that was not made");
    Device& device = c.devices[found->second];
    if (!device.stream) device.stream = stream;
    if (device.stream != stream) refuse("work on two streams");
    return device;
}

Device& here() {
    if (!current) refuse("no card is current on this thread");
    return *current;
}

int allocate(Address* out, std::size_t bytes, Device& device) {
    Card& c = card();
    if (bytes == 0) return invalid("an allocation of 0 bytes");
    std::size_t taken = (bytes + 511) / 512 * 512;
    if (device.used + taken > c.total) return OUT_OF_MEMORY;
    Span span{bytes, 0, nullptr, device.number};
    if (c.computes) {
        std::size_t page = 4096, body = (bytes + 15) / 16 * 16;
        span.mapped = (body + page - 1) / page * page + page;
        void* at = mmap(nullptr, span.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) return OUT_OF_MEMORY;
        span.start = static_cast<unsigned char*>(at);
        unsigned char* end = span.start + span.mapped - page;
        mprotect(end, page, PROT_NONE);
        std::memset(end - body, 0xff, body);  // NaN: what is read before it is written shows
        *out = reinterpret_cast<Address>(end - body);
    } else {
        *out = c.next;
        c.next += taken + 512;
    }
    c.memory.emplace(*out, span);
    ++c.allocations;
    device.used += taken;
    for (Address* mark : {&device.used_high, &device.reserved_high, &device.most}) *mark = std::max(*mark, device.used);
    return SUCCESS;
}

int release(Address at, const Device& device) {
    Card& c = card();
    auto found = c.memory.find(at);
    if (found == c.memory.end()) refuse("freeing what is not allocated");
    belongs(found->second, device, "freeing");
    c.devices[found->second.card].used -= (found->second.bytes + 511) / 512 * 512;
    if (found->second.start) munmap(found->second.start, found->second.mapped);
    c.memory.erase(found);
    return SUCCESS;
}

}  // namespace emulated
