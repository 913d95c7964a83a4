// What all versions of the wildlife share: the land, and how its creatures are counted.
#pragma once

#include <cstdint>

struct census {
    uint32_t version;
    uint32_t count;
    uint64_t ticks;
    uint64_t checksum;  // of all numbers and places
    uint32_t strays;    // creatures that have lost the leader of their herd
    uint32_t favourite;
    const char *country;
};

namespace land {

constexpr int32_t size = 100000;
constexpr uint32_t herd = 100;

// One step on a land whose edges meet, in a direction that is the creature's own.
template <typename Creature>
void walk(Creature &who) {
    who.x = (who.x + static_cast<int32_t>(who.id % 7 + 1)) % size;
    who.y = (who.y + static_cast<int32_t>(who.id % 11 + 1)) % size;
    ++who.steps;
}

template <typename Creature>
void populate(Creature *creatures, uint32_t count) {
    for (uint32_t id = 0; id < count; ++id) {
        Creature &born = creatures[id];
        born.id = id;
        born.x = born.y = static_cast<int32_t>(id % size);
        born.weight = id == 17 ? 300 : static_cast<int16_t>(id % 100);  // number 17 is a mammoth
        born.leader = &creatures[id / herd * herd];
    }
}

template <typename Creature>
void survey(const Creature *creatures, uint32_t count, census *out) {
    for (uint32_t i = 0; i < count; ++i) {
        const Creature &one = creatures[i];
        out->checksum += (one.id + 1) * (uint64_t{1000003} * static_cast<uint32_t>(one.x) + static_cast<uint32_t>(one.y));
        out->strays += one.leader != &creatures[one.id / herd * herd];
    }
}

}  // namespace land
