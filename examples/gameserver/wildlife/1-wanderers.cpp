// Wildlife 1, wanderers: 100,000 creatures that walk on and on.
//
// Other than the rules, this library keeps things of its own between two calls: the creatures, in a typed block, and
// variables.  The next version finds all of them as they were.
#include <midflight.h>

#include "land.hpp"

struct creature {
    uint32_t id;
    int32_t x, y;
    int16_t weight;
    uint16_t steps;
    creature *leader;  // of its herd: another one of the block
};

namespace {

constexpr uint32_t version = 1;

uint64_t ticks;
uint32_t count;
creature *creatures;
creature *favourite;                      // one in the middle of the block
const char *country = "nowhere yet";      // points into this library
void (*behaviour)(creature *, uint32_t);  // so does this

void wander(creature *herd, uint32_t size) {
    for (creature *one = herd; one != herd + size; ++one) land::walk(*one);
}

}  // namespace

extern "C" {

bool settle(uint32_t many) {
    creatures = MF_NEW(creature, many);
    if (!creatures) return false;
    land::populate(creatures, many);
    count = many;
    favourite = &creatures[many / 2];
    country = "the steppe";
    behaviour = wander;
    return true;
}

uint32_t tick() {
    ++ticks;
    behaviour(creatures, count);
    return version;
}

void look(census *out) {
    *out = {version, count, ticks, 0, 0, favourite->id, country};
    land::survey(creatures, count, out);
}
}
