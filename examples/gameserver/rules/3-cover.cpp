// Rules 3, cover: a wall between two players halves a hit, team mates can't hurt each other, the wounded are slow.
#include "ground.hpp"

namespace {

constexpr uint32_t rules = 3;
constexpr int32_t reach = 9000;
constexpr int32_t sight = 10000;
constexpr int32_t strongest = 30;

int32_t step(const player &who) { return who.health < 50 ? 300 : 500; }

int32_t damage(int32_t distance, bool covered, bool friendly) {
    if (friendly || distance > reach) return 0;
    const int32_t full = strongest - strongest * distance / reach;
    return covered ? full / 2 : full;
}

}  // namespace

extern "C" {

void spawn(world *w, uint32_t who) { ground::place(w, w->players[who]); }

void move(world *w, uint32_t who, int32_t dx, int32_t dy, moved *out) {
    player &mover = w->players[who];
    const vec from = mover.at;
    const int32_t most = step(mover);
    mover.at = ground::slide(w, from, std::clamp(dx, -most, most), std::clamp(dy, -most, most));
    ground::pick_up(w, mover);
    ++mover.served;
    *out = ground::answer_move(rules, mover, from);
}

void attack(world *w, uint32_t who, uint32_t target, hit *out) {
    player &attacker = w->players[who], &victim = w->players[target];
    const int32_t distance = ground::distance(attacker.at, victim.at);
    const bool covered = !ground::is_clear(w, attacker.at, victim.at);
    const bool friendly = attacker.team == victim.team;
    const int32_t done = damage(distance, covered, friendly);
    const bool fatal = ground::wound(w, attacker, victim, done);
    ++attacker.served;
    *out = {rules, attacker.served, target, distance, done, covered, friendly, fatal};
}

void look(world *w, uint32_t who, view *out, sighting *seen, uint32_t capacity) {
    player &viewer = w->players[who];
    const auto sees = [w, &viewer](const sighting &other) {
        return other.distance <= sight && ground::is_clear(w, viewer.at, other.at);
    };
    const uint32_t count = ground::survey(w, viewer, seen, capacity, sees);
    ++viewer.served;
    *out = {rules, viewer.served, viewer.at, sight, count};
}

void score(world *w, uint32_t who, standing *out) {
    player &p = w->players[who];
    const int32_t points = static_cast<int32_t>(100 * p.kills + 2 * p.gems) - static_cast<int32_t>(25 * p.deaths);
    ++p.served;
    *out = {rules, p.served, p.kills, p.deaths, p.gems, points};
}

uint32_t begin_tick(world *w) {
    ++w->tick;
    return rules;
}

uint32_t heal(world *w) {
    ground::heal(w, 2);
    return rules;
}

uint32_t end_tick(world *) { return rules; }
}
