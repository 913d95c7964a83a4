// Calls through a function pointer from C++: what is thrown there is caught here.
#include <stdexcept>

extern "C" {

int throw_negative(int x) {
    if (x < 0) {
        throw std::runtime_error("negative");
    }
    return x;
}

// 1000 and more: it was caught; the second handler shows that the frame is whole.
int call_and_catch(int (*function)(int), int x) {
    volatile int kept = 7;
    try {
        return function(x) + kept;
    } catch (const std::runtime_error &error) {
        return 1000 + kept + error.what()[0];
    }
}
}
