// What all versions of the rules share: geometry, free ground, wounds and gems.
#pragma once

#include <algorithm>
#include <cstdint>

#include "game.h"

namespace ground {

constexpr int32_t full_health = 100;
constexpr int32_t gem_reach = 1500;
constexpr uint32_t gem_rest = 40;  // ticks

inline int64_t squared(vec a, vec b) {
    const int64_t dx = int64_t{a.x} - b.x, dy = int64_t{a.y} - b.y;
    return dx * dx + dy * dy;
}

// The whole part of the distance.
inline int32_t distance(vec a, vec b) {
    const int64_t square = squared(a, b);
    int64_t low = 0, high = 1 << 20;
    while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        if (middle * middle <= square) low = middle;
        else high = middle - 1;
    }
    return static_cast<int32_t>(low);
}

inline bool inside(vec p, const wall &block) {
    return p.x >= block.low.x && p.x <= block.high.x && p.y >= block.low.y && p.y <= block.high.y;
}

inline bool is_free(const world *w, vec p) {
    if (p.x < 0 || p.y < 0 || p.x > w->size.x || p.y > w->size.y) return false;
    return std::none_of(w->walls, w->walls + w->wall_count, [p](const wall &block) { return inside(p, block); });
}

inline int sign(int64_t value) { return (value > 0) - (value < 0); }

inline int side(vec a, vec b, vec p) {
    return sign((int64_t{b.x} - a.x) * (int64_t{p.y} - a.y) - (int64_t{b.y} - a.y) * (int64_t{p.x} - a.x));
}

// Whether the segment from a to b touches the rectangle, for a and b outside of it.
inline bool crosses(vec a, vec b, const wall &block) {
    if (std::max(a.x, b.x) < block.low.x || std::min(a.x, b.x) > block.high.x) return false;
    if (std::max(a.y, b.y) < block.low.y || std::min(a.y, b.y) > block.high.y) return false;
    const vec corners[] = {block.low, {block.high.x, block.low.y}, block.high, {block.low.x, block.high.y}};
    const int first = side(a, b, corners[0]);
    return std::any_of(corners, corners + 4, [=](vec corner) {
        const int other = side(a, b, corner);
        return other == 0 || other != first;
    });
}

inline bool is_clear(const world *w, vec a, vec b) {
    return std::none_of(w->walls, w->walls + w->wall_count, [=](const wall &block) { return crosses(a, b, block); });
}

// The step as far as the walls let it: in both directions, or along the wall, or not at all.
inline vec slide(const world *w, vec from, int32_t dx, int32_t dy) {
    const vec ways[] = {{from.x + dx, from.y + dy}, {from.x + dx, from.y}, {from.x, from.y + dy}};
    const vec *way = std::find_if(ways, ways + 3, [w](vec p) { return is_free(w, p); });
    return way == ways + 3 ? from : *way;
}

// A random number that depends on nothing but its arguments.
inline uint32_t scatter(uint32_t seed, uint32_t a, uint32_t b) {
    uint32_t value = seed ^ (a * 2654435761u) ^ (b * 2246822519u);
    value = (value ^ (value >> 15)) * 2146121005u;
    value = (value ^ (value >> 13)) * 3266489917u;
    return value ^ (value >> 16);
}

inline void place(const world *w, player &who) {
    uint32_t tries = 0;
    do {
        const uint32_t draw = who.deaths * 64 + tries++;
        who.at.x = static_cast<int32_t>(scatter(w->seed, who.id, draw) % (w->size.x + 1u));
        who.at.y = static_cast<int32_t>(scatter(w->seed + 1, who.id, draw) % (w->size.y + 1u));
    } while (!is_free(w, who.at) && tries < 64);
    who.health = full_health;
}

// Takes health from the target; a player whose health is used up comes back elsewhere.  Says whether it was.
inline bool wound(const world *w, player &by, player &target, int32_t damage) {
    target.health -= damage;
    if (target.health > 0) return false;
    ++by.kills;
    ++target.deaths;
    place(w, target);
    return true;
}

inline void heal(world *w, int32_t health) {
    for (player *p = w->players; p != w->players + w->player_count; ++p)
        p->health = std::min(p->health + health, full_health);
}

inline void pick_up(world *w, player &who) {
    for (gem *g = w->gems; g != w->gems + w->gem_count; ++g) {
        if (g->back_at > w->tick || squared(g->at, who.at) > int64_t{gem_reach} * gem_reach) continue;
        who.gems += g->worth;
        g->back_at = w->tick + gem_rest;
    }
}

inline moved answer_move(uint32_t rules, const player &who, vec from) {
    return {rules, who.served, from, who.at, who.health, who.deaths, who.gems};
}

// The nearest players that `sees` lets through, nearest first.  Returns how many were written.
template <typename Sees>
uint32_t survey(const world *w, const player &who, sighting *seen, uint32_t capacity, Sees sees) {
    uint32_t count = 0;
    const auto nearer = [](const sighting &a, const sighting &b) {
        return a.distance != b.distance ? a.distance < b.distance : a.id < b.id;
    };
    for (const player *other = w->players; other != w->players + w->player_count; ++other) {
        if (other->id == who.id) continue;
        const sighting found{other->id, other->at, distance(who.at, other->at)};
        if (count == capacity && (count == 0 || !nearer(found, seen[count - 1]))) continue;
        if (!sees(found)) continue;
        sighting *end = count < capacity ? seen + count++ : seen + count - 1;
        sighting *spot = std::upper_bound(seen, end, found, nearer);
        std::move_backward(spot, end, end + 1);
        *spot = found;
    }
    return count;
}

}  // namespace ground
