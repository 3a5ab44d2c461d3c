// What goes between emulated cards: the functions of NCCL (libnccl.so.2) that this project's programs call. Members are threads
// of one process. A sum is done when the last member has queued it, in the order of the members, and every member gets the same
// bytes; until then the others wait, which the real library does on the card. Members whose calls do not match end the program.
#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <vector>

extern "C" int covft_card_computes();
extern "C" void covft_card_sum(void* stream, int number, const void* at, std::size_t bytes);

namespace {

enum { SUCCESS = 0, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, FLOAT32 = 7, SUM = 0 };

constexpr int EVERYONE = -1;

struct Part {
    float* at;
    std::size_t count;
    int from;  // the member whose numbers all get, or everyone for the sum
};

// What members of one team wait at.
struct Team {
    std::mutex lock;
    std::condition_variable changed;
    std::size_t size = 0, left = 0;
    std::vector<Part> parts;
    unsigned long long done = 0;
};

struct Communicator {
    Team* team;
    int member, card;
};

[[noreturn]] void refuse(const char* what) {
    std::fprintf(stderr, "emulated NCCL: %s\n", what);
    std::abort();
}

void add(const std::vector<Part>& parts) {
    for (const Part& part : parts) {
        if (part.count != parts[0].count) refuse("members have other numbers of elements");
        if (part.from != parts[0].from) refuse("members want other things");
    }
    if (!covft_card_computes()) return;
    if (parts[0].from != EVERYONE) {
        const float* given = parts.at(parts[0].from).at;
        std::vector<float> numbers(given, given + parts[0].count);
        for (const Part& part : parts) std::copy(numbers.begin(), numbers.end(), part.at);
        return;
    }
    for (std::size_t i = 0; i < parts[0].count; ++i) {
        float sum = parts[0].at[i];
        for (std::size_t m = 1; m < parts.size(); ++m) sum += parts[m].at[i];
        for (const Part& part : parts) part.at[i] = sum;
    }
}

struct Call {
    Communicator* of;
    Part part;
};

thread_local int depth = 0;
thread_local std::vector<Call> group;

void run(const Call& call) {
    Team& team = *call.of->team;
    std::unique_lock<std::mutex> held(team.lock);
    team.parts[call.of->member] = call.part;
    auto round = team.done;
    if (++team.left == team.size) {
        add(team.parts);
        team.left = 0;
        ++team.done;
        team.changed.notify_all();
    } else {
        team.changed.wait(held, [&] { return team.done != round; });
    }
}

}  // namespace

extern "C" {

int ncclCommInitAll(void** communicators, int size, const int* cards) {
    // Lives as long as the program: a member may be dropped before another.
    auto* team = new Team;
    team->size = size;
    team->parts.resize(size);
    for (int i = 0; i < size; ++i) {
        for (int j = 0; j < i; ++j) {
            if (cards[i] == cards[j]) return INVALID_USAGE;
        }
        communicators[i] = new Communicator{team, i, cards[i]};
    }
    return SUCCESS;
}

int ncclCommAbort(void* communicator) {
    delete static_cast<Communicator*>(communicator);
    return SUCCESS;
}

int ncclGroupStart() {
    ++depth;
    return SUCCESS;
}

int ncclGroupEnd() {
    if (depth == 0) return INVALID_USAGE;
    if (--depth == 0) {
        for (const Call& call : group) run(call);
        group.clear();
    }
    return SUCCESS;
}

static int call(void* at, std::size_t count, int from, void* communicator, void* stream) {
    auto* own = static_cast<Communicator*>(communicator);
    covft_card_sum(stream, own->card, at, count * sizeof(float));
    Call call{own, {static_cast<float*>(at), count, from}};
    if (depth > 0) {
        group.push_back(call);
    } else {
        run(call);
    }
    return SUCCESS;
}

int ncclAllReduce(const void* from, void* to, std::size_t count, int type, int operation, void* communicator, void* stream) {
    if (type != FLOAT32 || operation != SUM || from != to) refuse("only sums of float32 in place are known here");
    return call(to, count, EVERYONE, communicator, stream);
}

int ncclBroadcast(const void* from, void* to, std::size_t count, int type, int member, void* communicator, void* stream) {
    if (type != FLOAT32 || from != to) refuse("only float32 in place is known here");
    return call(to, count, member, communicator, stream);
}

const char* ncclGetErrorString(int code) {
    return code == INVALID_ARGUMENT ? "invalid argument (emulated)" : "invalid usage (emulated)";
}

}  // extern "C"
