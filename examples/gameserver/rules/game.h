// The contract between the host and the rules: plain structs, all owned by the host, and the functions that it calls.
//
// The rules keep nothing of their own between two calls, so any version of them can take over at any call.  Lengths are
// whole millimetres: every result is exact, and the clients can check each reply against the rulebook of its version.
#pragma once

#include <cstdint>

struct vec {
    int32_t x, y;
};

struct player {
    uint32_t id;
    uint32_t team;
    vec at;
    int32_t health;
    uint32_t kills;
    uint32_t deaths;
    uint32_t gems;
    uint32_t served;  // requests of this player that the rules have carried out
};

struct gem {
    vec at;
    uint32_t worth;
    uint32_t back_at;  // the tick at which it can be picked up (again)
};

struct wall {
    vec low, high;  // a rectangle; its edges belong to it
};

struct world {
    uint32_t seed;
    uint32_t tick;
    vec size;
    player *players;
    uint32_t player_count;
    gem *gems;
    uint32_t gem_count;
    const wall *walls;
    uint32_t wall_count;
};

// What the requests answer.  `rules` is the number of the rules that made the answer, `served` the player's count of
// requests with this one included.

struct moved {
    uint32_t rules, served;
    vec start, end;
    int32_t health;
    uint32_t deaths, gems;
};

struct hit {
    uint32_t rules, served;
    uint32_t target;
    int32_t distance;
    int32_t damage;
    bool covered;   // a wall stands between the two
    bool friendly;  // of the same team
    bool fatal;
};

struct view {
    uint32_t rules, served;
    vec at;
    int32_t radius;
    uint32_t count;
};

struct sighting {
    uint32_t id;
    vec at;
    int32_t distance;
};

struct standing {
    uint32_t rules, served;
    uint32_t kills, deaths, gems;
    int32_t points;
};

extern "C" {

// Puts a player who has just joined somewhere on free ground.
void spawn(world *w, uint32_t who);

// The four requests of a client.
void move(world *w, uint32_t who, int32_t dx, int32_t dy, moved *out);
void attack(world *w, uint32_t who, uint32_t target, hit *out);
void look(world *w, uint32_t who, view *out, sighting *seen, uint32_t capacity);
void score(world *w, uint32_t who, standing *out);

// One tick of the world: three calls that belong together, so the host makes them all in one version.
uint32_t begin_tick(world *w);
uint32_t heal(world *w);
uint32_t end_tick(world *w);
}
