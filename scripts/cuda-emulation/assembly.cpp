// What a module's text in the assembly language for cards says of its kernels.
#include <cctype>

#include "card.hpp"

namespace emulated {

static std::size_t number(const std::string& text, std::size_t at) {
    return std::strtoull(text.c_str() + at, nullptr, 10);
}

// Bytes of a parameter or variable as the assembly language declares it: ".u64 name", or ".align 8 .b8 name[24]".
static std::size_t declared(const std::string& line) {
    std::size_t bracket = line.find('[');
    if (bracket != std::string::npos) return number(line, bracket + 1);
    for (const char* type : {".u", ".s", ".b", ".f"}) {
        for (std::size_t at = line.find(type); at != std::string::npos; at = line.find(type, at + 1)) {
            if (std::isdigit(line[at + 2])) return number(line, at + 2) / 8;
        }
    }
    refuse("cannot read \"" + line + "\"");
}

static const Entry* form_of(const Kernel& kernel) {
    bool named = false;
    for (const Entry& entry : ENTRIES) {
        if (kernel.name != entry.name) continue;
        if (entry.parameters == kernel.parameters) return &entry;
        named = true;
    }
    if (named) refuse(kernel.name + ": the compiler for cards has other parameters");
    return nullptr;
}

Module read_module(const std::string& text) {
    Module module;
    Kernel* now = nullptr;
    bool listing = false;
    for (std::size_t at = 0; at < text.size();) {
        std::size_t end = std::min(text.find('\n', at), text.size());
        std::string line = text.substr(at, end - at);
        at = end + 1;
        auto has = [&line](const char* word) { return line.find(word) != std::string::npos; };
        if (has(".entry ")) {
            std::size_t from = line.find(".entry ") + 7;
            std::string name = line.substr(from, line.find_first_of("( ", from) - from);
            now = &module[name];
            now->name = name;
            listing = line.find(')') == std::string::npos;
        } else if (listing && has(".param ")) {
            now->parameters.push_back(declared(line));
        } else if (listing && has(")")) {
            listing = false;
        } else if (now && has(".shared .align")) {
            now->shared += declared(line);
        }
    }
    for (auto& [name, kernel] : module) kernel.entry = form_of(kernel);
    return module;
}

}  // namespace emulated
