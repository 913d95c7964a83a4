/* See trace.h. */
#include "trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "foreign.h"

enum { BUFFER = 256 * 1024, LARGE = 128 * 1024, PAGE = 4096 }; /* LARGE: malloc gives whole pages */

/* A trace under way. */
typedef struct search {
    mf_trace *trace;
    bool no_memory;
    size_t next;           /* the node that is read next */
    uint64_t next_element; /* of that */
    char *buffer;
    size_t room;
} search;

/* ---- what is found ------------------------------------------------------------------------------------------------- */

static void
add_spot(search *search, mf_spots *spots, const mf_spot *spot)
{
    if (spots->count == spots->room) {
        size_t room = spots->room == 0 ? 64 : 2 * spots->room;
        mf_spot *grown = realloc(spots->spot, room * sizeof *grown);
        if (grown == NULL) {
            search->no_memory = true;
            return;
        }
        spots->spot = grown;
        spots->room = room;
    }
    spots->spot[spots->count++] = *spot;
}

static bool
is_new(search *search, mf_seen *seen, uint64_t key, uint32_t tag)
{
    mf_seen_answer answer = mf_seen_add(seen, key, tag);
    search->no_memory |= answer == MF_SEEN_NO_MEMORY;
    return answer == MF_SEEN_NEW;
}

/* One past the end of a block is a pointer to the block, too. */
static bool
is_own(const mf_trace *trace, uint64_t value)
{
    size_t low = 0, high = trace->own_count;
    while (low < high) {
        size_t half = low + (high - low) / 2;
        if (trace->own[half].start <= value) {
            low = half + 1;
        } else {
            high = half;
        }
    }
    return low > 0 && value <= trace->own[low - 1].end;
}

/* An object that a pointer of a known type points to.  A tagged pointer isn't followed: nobody knows where it points. */
static void
reach(search *search, const mf_spot *spot)
{
    mf_trace *trace = search->trace;
    const mf_shape *shape = &trace->shapes->shape[spot->shape - 1];
    bool looked_into = shape->steps.count > 0 && (shape->flags & MF_SHAPE_STOP) == 0;
    bool misaligned = shape->aligned && spot->value % 8 != 0;
    if (trace->limit_reached || ((!looked_into || misaligned) && (shape->flags & MF_SHAPE_BAD) == 0) ||
        !is_new(search, &trace->seen, spot->value, spot->shape)) {
        return;
    }
    if (trace->node_count - trace->root_count >= trace->limit) {
        trace->limit_reached = true;
        return;
    }
    if (trace->node_count == trace->node_room) {
        size_t room = 2 * trace->node_room + 64;
        mf_node *grown = realloc(trace->node, room * sizeof *grown);
        if (grown == NULL) {
            search->no_memory = true;
            return;
        }
        trace->node = grown;
        trace->node_room = room;
    }
    trace->node[trace->node_count++] = (mf_node){spot->value, spot->value, 1, spot->shape - 1, true, spot->node, spot->offset};
}

/* A word that is, or may be (`typed`: false), a pointer. */
static void
find(search *search, const mf_spot *spot, bool typed)
{
    mf_trace *trace = search->trace;
    bool in_image = spot->value - trace->low < trace->high - trace->low;
    if (in_image && is_new(search, &trace->seen_values, spot->value, 0)) {
        add_spot(search, &trace->image, spot);
    }
    if (in_image || is_own(trace, spot->value)) {
        if (trace->node[spot->node].in_place) {
            add_spot(search, &trace->patchable, spot);
        }
    } else if (typed && spot->value != 0 && !trace->follow) {
        if (is_new(search, &trace->seen, spot->value, spot->shape)) {
            add_spot(search, &trace->foreign, spot);
        }
    } else if (typed && spot->value != 0 && spot->shape != 0) {
        reach(search, spot);
    }
}

/* ---- looking at bytes ------------------------------------------------------------------------------------------------ */

/* Where an element or an iteration begins: in our memory, and in its node. */
typedef struct place {
    const char *bytes;
    uint32_t node;
    uint64_t offset;
} place;

static void
look_at_words(search *search, const mf_step *step, place place)
{
    uint64_t as_if = search->trace->node[place.node].as_if + place.offset;
    for (uint64_t i = -as_if & 7; i + 8 <= step->size; i += 8) {
        mf_spot spot = {0, place.node, 0, place.offset + i};
        memcpy(&spot.value, place.bytes + i, sizeof spot.value);
        find(search, &spot, false);
    }
}

static void
look(search *search, const mf_step *step, const mf_step *end, place start)
{
    for (; step < end; step += 1 + step->body) {
        place here = {start.bytes + step->from, start.node, start.offset + step->from};
        if (step->kind == MF_OP_POINTER) {
            mf_spot spot = {0, here.node, (uint32_t)step->size, here.offset};
            memcpy(&spot.value, here.bytes, sizeof spot.value);
            find(search, &spot, true);
        } else if (step->kind == MF_OP_WORDS) {
            look_at_words(search, step, here);
        } else {
            for (uint64_t i = 0; i < step->size; i++) {
                look(search, step + 1, step + 1 + step->body, here);
                here.bytes += step->from_stride;
                here.offset += step->from_stride;
            }
        }
    }
}

static void
look_at_elements(search *search, uint32_t node, const char *bytes, uint64_t first, uint64_t count)
{
    const mf_shape *shape = &search->trace->shapes->shape[search->trace->node[node].shape];
    const mf_step *step = shape->steps.step, *end = step + shape->steps.count;
    for (uint64_t i = 0; i < count && !search->no_memory; i++) {
        look(search, step, end, (place){bytes + i * shape->size, node, (first + i) * shape->size});
    }
}

static void
look_at_roots(search *search)
{
    for (size_t i = 0; i < search->trace->root_count; i++) {
        const mf_node root = search->trace->node[i]; /* the array may move */
        const mf_shape *shape = &search->trace->shapes->shape[root.shape];
        if (shape->steps.count > 0 && (shape->flags & MF_SHAPE_STOP) == 0) {
            look_at_elements(search, (uint32_t)i, (const char *)(uintptr_t)root.address, 0, root.count);
        }
    }
}

/* ---- reading what was reached -------------------------------------------------------------------------------------------- */

/* Elements of one node that are read at once. */
typedef struct portion {
    uint32_t node;
    uint64_t first, count;
} portion;

static const mf_shape *
shape_of(const search *search, size_t node)
{
    return &search->trace->shapes->shape[search->trace->node[node].shape];
}

/* A pointer may point to the first of many elements; how many, only the allocator knows.  What has room for more than the
 * allocator would add isn't an array, but something larger that begins with an element. */
static uint64_t
elements_in(uint64_t bytes, uint64_t size)
{
    uint64_t count = size > 0 ? bytes / size : 0, slack = bytes < LARGE ? 16 : PAGE + 16;
    return count > 1 && bytes - count * size < slack ? count : 1;
}

static bool
count_elements(search *search, size_t first, size_t count)
{
    uint64_t addresses[MF_MOST_PIECES] = {0}, sizes[MF_MOST_PIECES];
    for (size_t i = 0; i < count; i++) {
        addresses[i] = search->trace->node[first + i].address;
    }
    if (!mf_foreign_blocks(addresses, sizes, count)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        search->trace->node[first + i].count = elements_in(sizes[i], shape_of(search, first + i)->size);
    }
    return true;
}

/* The next elements, as many as have room. */
static size_t
next_portions(search *search, size_t end, portion *portions, mf_piece *pieces)
{
    size_t made = 0, filled = 0;
    while (made < MF_MOST_PIECES && search->next < end) {
        const mf_node *node = &search->trace->node[search->next];
        uint64_t size = shape_of(search, search->next)->size, left = node->count - search->next_element;
        uint64_t fit = size > 0 ? (search->room - filled) / size : 1;
        uint64_t count = left < fit ? left : fit;
        if (count == 0) {
            break;
        }
        portions[made] = (portion){(uint32_t)search->next, search->next_element, count};
        pieces[made++] = (mf_piece){node->address + search->next_element * size, search->buffer + filled, count * size, false};
        filled += count * size;
        search->next_element = count < left ? search->next_element + count : 0;
        search->next += count == left;
    }
    return made;
}

/* Only what is there is an object: nobody can use what a stray pointer points to. */
static void
look_at_portion(search *search, const portion *portion, const char *bytes)
{
    const mf_shape *shape = shape_of(search, portion->node);
    const mf_node *node = &search->trace->node[portion->node];
    if ((shape->flags & MF_SHAPE_BAD) != 0 && portion->first == 0) {
        add_spot(search, &search->trace->foreign, &(mf_spot){node->address, node->holder, node->shape + 1, node->offset});
    }
    if (shape->steps.count > 0 && (shape->flags & MF_SHAPE_STOP) == 0 && !(shape->aligned && node->address % 8 != 0)) {
        look_at_elements(search, portion->node, bytes, portion->first, portion->count);
    }
}

static bool
look_at_objects(search *search, size_t end)
{
    portion portions[MF_MOST_PIECES];
    mf_piece pieces[MF_MOST_PIECES];
    while (search->next < end && !search->no_memory) {
        size_t count = next_portions(search, end, portions, pieces);
        if (!mf_foreign_read(pieces, count)) {
            return false;
        }
        for (size_t i = 0; i < count; i++) {
            if (pieces[i].done) {
                look_at_portion(search, &portions[i], pieces[i].bytes);
            }
        }
    }
    return true;
}

static bool
follow(search *search)
{
    mf_trace *trace = search->trace;
    while (search->next < trace->node_count && !search->no_memory) {
        size_t count = trace->node_count - search->next;
        count = count < MF_MOST_PIECES ? count : MF_MOST_PIECES;
        if (!count_elements(search, search->next, count) || !look_at_objects(search, search->next + count)) {
            return false;
        }
    }
    return true;
}

/* ---- all ------------------------------------------------------------------------------------------------------------------ */

bool
mf_trace_run(mf_trace *trace, mf_failure *failure)
{
    search search = {.trace = trace, .room = BUFFER};
    failure->kind = MF_OK;
    trace->root_count = trace->node_room = trace->node_count;
    for (size_t i = 0; i < trace->shapes->count; i++) {
        uint64_t size = trace->shapes->shape[i].size;
        search.room = size > search.room ? size : search.room;
    }
    search.buffer = malloc(search.room);
    search.next = trace->root_count;
    search.no_memory = search.buffer == NULL;
    bool permitted = true;
    if (!search.no_memory) {
        look_at_roots(&search);
        permitted = follow(&search);
    }
    if (search.no_memory) {
        mf_fail(failure, MF_SYSTEM, "no memory to follow the pointers");
    } else if (!permitted) {
        mf_fail(failure, MF_SYSTEM, "the system doesn't let the process read its own memory: %s", strerror(errno));
    }
    free(search.buffer);
    return failure->kind == MF_OK;
}

void
mf_trace_free(mf_trace *trace)
{
    free(trace->own);
    free(trace->node);
    free(trace->image.spot);
    free(trace->foreign.spot);
    free(trace->patchable.spot);
    mf_seen_free(&trace->seen);
    mf_seen_free(&trace->seen_values);
}
