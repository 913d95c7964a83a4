// Rules 1, the open field: everybody sees and hits through walls, and a step into a wall isn't made at all.
#include "ground.hpp"

namespace {

constexpr uint32_t rules = 1;
constexpr int32_t step = 400;
constexpr int32_t reach = 6000;
constexpr int32_t sight = 8000;
constexpr int32_t damage = 10;

}  // namespace

extern "C" {

void spawn(world *w, uint32_t who) { ground::place(w, w->players[who]); }

void move(world *w, uint32_t who, int32_t dx, int32_t dy, moved *out) {
    player &mover = w->players[who];
    const vec from = mover.at;
    const vec to{from.x + std::clamp(dx, -step, step), from.y + std::clamp(dy, -step, step)};
    if (ground::is_free(w, to)) mover.at = to;
    ground::pick_up(w, mover);
    ++mover.served;
    *out = ground::answer_move(rules, mover, from);
}

void attack(world *w, uint32_t who, uint32_t target, hit *out) {
    player &attacker = w->players[who], &victim = w->players[target];
    const int32_t distance = ground::distance(attacker.at, victim.at);
    const bool covered = !ground::is_clear(w, attacker.at, victim.at);
    const int32_t done = distance <= reach ? damage : 0;
    const bool fatal = ground::wound(w, attacker, victim, done);
    ++attacker.served;
    *out = {rules, attacker.served, target, distance, done, covered, attacker.team == victim.team, fatal};
}

void look(world *w, uint32_t who, view *out, sighting *seen, uint32_t capacity) {
    player &viewer = w->players[who];
    const auto sees = [](const sighting &other) { return other.distance <= sight; };
    const uint32_t count = ground::survey(w, viewer, seen, capacity, sees);
    ++viewer.served;
    *out = {rules, viewer.served, viewer.at, sight, count};
}

void score(world *w, uint32_t who, standing *out) {
    player &p = w->players[who];
    const auto points = static_cast<int32_t>(100 * p.kills + p.gems);
    ++p.served;
    *out = {rules, p.served, p.kills, p.deaths, p.gems, points};
}

uint32_t begin_tick(world *w) {
    ++w->tick;
    return rules;
}

uint32_t heal(world *w) {
    ground::heal(w, 1);
    return rules;
}

uint32_t end_tick(world *) { return rules; }
}
