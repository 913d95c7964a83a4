// What a C++ library commonly has: templates and inline statics (STB_GNU_UNIQUE), virtual functions, exceptions,
// static objects with destructors, a thread_local object.
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace shapes {
enum class kind : unsigned char { square, circle };

struct shape {
    virtual ~shape() = default;
    virtual double area() const = 0;
    kind what = kind::square;
};

template <typename T> struct count {
    static inline int made = 0;
    count() { ++made; }
};

struct square : shape, private count<square> {
    explicit square(double side) : side(side) {}
    double area() const override { return side * side; }
    double side;
};

static std::map<std::string, double> sizes{{"small", 1.0}, {"large", 8.0}};
thread_local std::string last;

double area(const std::string &name)
{
    auto found = sizes.find(name);
    if (found == sizes.end()) {
        throw std::out_of_range(name);
    }
    last = name;
    return std::make_unique<square>(found->second)->area();
}
} // namespace shapes

int version = 2;
static std::vector<int> history;

extern "C" int add(int a, int b)
{
    history.push_back(a + b);
    return history.back() + version + shapes::count<shapes::square>::made;
}

extern "C" double area(const char *name) noexcept
{
    try {
        return shapes::area(name);
    } catch (const std::exception &) {
        return -1;
    }
}
