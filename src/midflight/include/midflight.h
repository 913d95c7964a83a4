/* What a library can ask of midflight, which loads it and replaces it by a new version while the program runs.
 *
 * Plain C99 or C++.  Nothing has to be linked: a library that uses this header also works without midflight (loaded by
 * dlopen, or linked into a program); its blocks are ordinary memory then, and nobody looks at its hooks.
 *
 * Typed blocks are memory that belongs to the library as a whole, not to one version of it: the next version finds them
 * as they were.  Where the type has another layout in the next version, midflight brings the block over to it, field by
 * field, and corrects the pointers to it.
 *
 *     struct player { int hp; float x, y; };
 *     static struct player *players;
 *
 *     players = MF_NEW(struct player, 100);                    // 100 players, all zero; NULL: there is no memory
 *     bigger = MF_RESIZE(players, struct player, 200);         // like realloc; those that are new are zero
 *     MF_FREE(players);
 *
 * Any thread may use them.  Memory from malloc is none of midflight's business: it stays where it is.
 */
#ifndef MIDFLIGHT_H
#define MIDFLIGHT_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MIDFLIGHT_VISIBLE __attribute__((visibility("default")))

/* ---- typed blocks -------------------------------------------------------------------------------------------------- */

/* A pointer to `count` zeroed elements, or NULL.  The type is written as in a declaration: `struct player`, `player_t`,
 * `double`, `struct player *`; one that isn't a name and stars (a pointer to a function, say) needs a typedef. */
#define MF_NEW(type, count) MIDFLIGHT_CAST_(type *, midflight_new(#type, sizeof(type), __alignof__(type), (count)))

/* The block with another number of elements: perhaps at another address, as with realloc.  NULL: there is no memory, and
 * the block is as it was.  A NULL pointer makes a new block. */
#define MF_RESIZE(pointer, type, count) \
    MIDFLIGHT_CAST_(type *, midflight_resize((pointer), #type, sizeof(type), __alignof__(type), (count)))

/* Frees a block of any type.  NULL is allowed. */
#define MF_FREE(pointer) midflight_free(pointer)

/* One struct that ends in a flexible array, with room for `count` elements of it:
 *
 *     struct packet { int length; struct item items[]; };
 *     packet = MF_NEW_FLEX(struct packet, items, 20);
 */
#define MF_NEW_FLEX(type, member, count) \
    MIDFLIGHT_CAST_(type *, midflight_new_flex(MIDFLIGHT_FLEX_(type, member), (count)))
#define MF_RESIZE_FLEX(pointer, type, member, count) \
    MIDFLIGHT_CAST_(type *, midflight_resize_flex((pointer), MIDFLIGHT_FLEX_(type, member), (count)))
#define MIDFLIGHT_FLEX_(type, member)                                                              \
    #type, sizeof(type), __alignof__(type), #member, __builtin_offsetof(type, member), \
        sizeof(MIDFLIGHT_CAST_(type *, 0)->member[0])

#ifdef __cplusplus
#define MIDFLIGHT_CAST_(type, value) static_cast<type>(value)
#define MIDFLIGHT_ADDRESS_(pointer) reinterpret_cast<size_t>(pointer)
#else
#define MIDFLIGHT_CAST_(type, value) ((type)(value))
#define MIDFLIGHT_ADDRESS_(pointer) ((size_t)(pointer))
#endif

/* ---- renames --------------------------------------------------------------------------------------------------------- */

/* Says that something has another name now, so that its data are carried over instead of dropped:
 *
 *     MF_RENAMED(player.hp, player.health);      a field
 *     MF_RENAMED(struct player, struct person);  a type
 *     MF_RENAMED(best, record);                  a variable
 *
 * Written outside of functions, in the new version; it does no harm to leave it there. */
#define MF_RENAMED(old, new)                                          \
    __asm__(".pushsection midflight_renames,\"\",@progbits\n"           \
            "\t.asciz \"" #old "\"\n\t.asciz \"" #new "\"\n\t.popsection")

/* ---- hooks ----------------------------------------------------------------------------------------------------------- */

/* Functions that a library may have; midflight calls those that it finds.  0: all is well; anything else refuses the
 * swap, and the version that runs goes on. */
MIDFLIGHT_VISIBLE int midflight_loaded(void);    /* in the new version, before anything is brought over */
MIDFLIGHT_VISIBLE int midflight_save(void);      /* in the old version: its data are about to be brought over */
MIDFLIGHT_VISIBLE int midflight_restore(void);   /* in the new version: its data have been brought over */
MIDFLIGHT_VISIBLE int midflight_unloading(void); /* in the old version, when it is no longer used: end its threads here */

/* ---- what lies behind them --------------------------------------------------------------------------------------------- */

/* What a block consists of: elements, or one struct with the elements of a flexible array behind it. */
struct midflight_type {
    const char *name;
    size_t size, align;
    const char *tail; /* the flexible array's name, or NULL */
    size_t tail_offset, tail_size;
};

/* How a library reaches midflight.  A newer version of this struct only adds to its end. */
struct midflight_module {
    unsigned version; /* of this struct: 1 */
    unsigned reserved;
    const volatile unsigned *should_yield;
    void *(*allocate)(struct midflight_module *self, const struct midflight_type *type, size_t count);
    void *(*resize)(struct midflight_module *self, void *pointer, const struct midflight_type *type, size_t count);
    void (*release)(struct midflight_module *self, void *pointer);
};

/* Defined by midflight when it loads the library; without midflight its address is 0. */
extern MIDFLIGHT_VISIBLE __attribute__((weak)) struct midflight_module midflight_module;

static inline struct midflight_module *
midflight_here(void)
{
    return &midflight_module;
}

/* Whether a swap waits for this call to end.  For functions that run for long: let them return then, and go on with the
 * rest when they are called again. */
static inline int
midflight_should_yield(void)
{
    struct midflight_module *here = midflight_here();
    return here != 0 && *here->should_yield != 0;
}

/* Without midflight: memory from calloc, with its place and its size in front of it. */
struct midflight_plain_ {
    void *start;
    size_t size;
};

static inline size_t
midflight_bytes_(const struct midflight_type *type, size_t count)
{
    size_t most = ~sizeof(char) / 2, fixed = type->tail != 0 ? type->tail_offset : 0;
    size_t each = type->tail != 0 ? type->tail_size : type->size, bytes;
    if (fixed > most || (each != 0 && count > (most - fixed) / each)) {
        return 0;
    }
    bytes = fixed + count * each;
    return bytes < type->size ? type->size : bytes;
}

static inline void
midflight_plain_free_(void *pointer)
{
    if (pointer != 0) {
        free(MIDFLIGHT_CAST_(struct midflight_plain_ *, pointer)[-1].start);
    }
}

static inline void *
midflight_plain_resize_(void *pointer, const struct midflight_type *type, size_t count)
{
    size_t size = midflight_bytes_(type, count), align = type->align < 16 ? 16 : type->align, kept, gap;
    struct midflight_plain_ *made;
    char *start = size != 0 ? MIDFLIGHT_CAST_(char *, calloc(1, size + sizeof *made + align)) : 0;
    if (start == 0) {
        return 0;
    }
    gap = align - MIDFLIGHT_ADDRESS_(start + sizeof *made) % align;
    made = MIDFLIGHT_CAST_(struct midflight_plain_ *, MIDFLIGHT_CAST_(void *, start + sizeof *made + gap));
    made[-1].start = start;
    made[-1].size = size;
    if (pointer != 0) {
        kept = MIDFLIGHT_CAST_(struct midflight_plain_ *, pointer)[-1].size;
        memcpy(made, pointer, kept < size ? kept : size);
        midflight_plain_free_(pointer);
    }
    return made;
}

static inline void *
midflight_resize_(void *pointer, const struct midflight_type *type, size_t count)
{
    struct midflight_module *here = midflight_here();
    if (here == 0) {
        return midflight_plain_resize_(pointer, type, count);
    }
    return pointer != 0 ? here->resize(here, pointer, type, count) : here->allocate(here, type, count);
}

static inline void *
midflight_resize(void *pointer, const char *name, size_t size, size_t align, size_t count)
{
    struct midflight_type type = {0, 0, 0, 0, 0, 0};
    type.name = name;
    type.size = size;
    type.align = align;
    return midflight_resize_(pointer, &type, count);
}

static inline void *
midflight_new(const char *name, size_t size, size_t align, size_t count)
{
    return midflight_resize(0, name, size, align, count);
}

static inline void *
midflight_resize_flex(void *pointer, const char *name, size_t size, size_t align, const char *tail, size_t tail_offset,
                      size_t tail_size, size_t count)
{
    struct midflight_type type = {0, 0, 0, 0, 0, 0};
    type.name = name;
    type.size = size;
    type.align = align;
    type.tail = tail;
    type.tail_offset = tail_offset;
    type.tail_size = tail_size;
    return midflight_resize_(pointer, &type, count);
}

static inline void *
midflight_new_flex(const char *name, size_t size, size_t align, const char *tail, size_t tail_offset, size_t tail_size,
                   size_t count)
{
    return midflight_resize_flex(0, name, size, align, tail, tail_offset, tail_size, count);
}

static inline void
midflight_free(void *pointer)
{
    struct midflight_module *here = midflight_here();
    if (here != 0) {
        here->release(here, pointer);
    } else {
        midflight_plain_free_(pointer);
    }
}

#ifdef __cplusplus
}
#endif

#endif
