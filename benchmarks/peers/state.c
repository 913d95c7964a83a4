/* A library with data of its own: a few variables, and units in a typed block.
 *
 * VERSION is its number; MOVED: units are laid out in another way; LINKED: each has a pointer to another one.
 */
#include <midflight.h>

#ifdef MOVED
struct unit {
    float x, y, z;
    int hp, id;
    unsigned char flags[4];
    double score;
    int team, shield;
};
#else
struct unit {
    int id;
    float x, y, z;
    short hp;
    unsigned char flags[2];
    int team;
#ifdef LINKED
    struct unit *next;
#else
    double score;
#endif
};
#endif

static struct unit *units;
static struct unit *best;
static size_t count;
static long calls;
static double mean;
static struct {
    int low, high;
} range;
static const char *mood = "none";
static int (*rule)(int, int);

static int
plus(int a, int b)
{
    return a + b;
}

int
version(void)
{
    return VERSION;
}

/* Sets all variables; the block is for `many` units. */
int
fill(size_t many)
{
    units = MF_NEW(struct unit, many);
    if (units == 0) {
        return 0;
    }
    for (size_t i = 0; i < many; i++) {
        units[i] = (struct unit){.id = (int)i, .x = (float)i, .hp = 100, .team = 1};
    }
    count = many;
    best = units + many / 2;
    range.high = 10;
    mean = 0.5;
    mood = "calm";
    rule = plus;
    return 1;
}

int
add(int a, int b)
{
    calls++;
    return rule(a, b);
}

/* What has to be the same after each swap. */
long
check(void)
{
    return calls + units[0].hp + best->id + (long)count + best->hp + best->team + range.high + mood[0] + (mean > 0);
}
