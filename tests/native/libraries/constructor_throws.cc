#include <stdexcept>

static struct Global {
    Global() { throw std::runtime_error("no configuration"); }
} global;

extern "C" int answer() { return 42; }
