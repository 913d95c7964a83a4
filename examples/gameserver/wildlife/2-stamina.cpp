// Wildlife 2, stamina: creatures get tired, and rest for a tick.
//
// A creature has a field more, another one is wider, and they are in another order.  Those that have come from version 1
// start without stamina, as all new fields in a block are zero.
#include <midflight.h>

#include "land.hpp"

struct creature {
    creature *leader;  // of its herd: another one of the block
    int32_t x, y;
    uint32_t id;
    uint32_t steps;
    int16_t weight;
    uint16_t stamina;  // steps to the next rest
};

namespace {

constexpr uint32_t version = 2;

uint64_t ticks;
uint32_t count;
creature *creatures;
creature *favourite;                      // one in the middle of the block
const char *country = "nowhere yet";      // points into this library
void (*behaviour)(creature *, uint32_t);  // so does this

void wander(creature *herd, uint32_t size) {
    for (creature *one = herd; one != herd + size; ++one) {
        if (one->stamina == 0) {
            one->stamina = static_cast<uint16_t>(one->id % 5 + 5);
        } else {
            --one->stamina;
            land::walk(*one);
        }
    }
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
