#include <stdexcept>

struct Odd : std::exception {
    const char *what() const noexcept override { return "odd indeed"; }
};

extern "C" int throws(int which)
{
    switch (which) {
    case 0: throw std::runtime_error("boom");
    case 1: throw 42;
    case 2: throw Odd();
    default: return 7;
    }
}
