/* Would catch: a graph of pointers that is walked for ever or leaks, a stray pointer that is read by ourselves, a patch
 * that goes beyond its memory, a table of what was seen that loses something when it grows. */
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "patches.h"

enum { NODES = 20000 };

#define LOW UINT64_C(0x5e5700000000)
#define HIGH (LOW + 0x100000)

typedef struct node {
    struct node *next, *other;
    uint64_t data;
} node;

static mf_shapes
node_shapes(void)
{
    const mf_op ops[] = {
        {.kind = MF_OP_LOOP, .from = 8, .size = 2 | UINT64_C(1) << 40},
        {.kind = MF_OP_POINTER, .size = 1},
        {.kind = MF_OP_WORDS, .from = 16, .size = 8},
    };
    mf_shapes shapes = {calloc(1, sizeof(mf_shape)), 1};
    CHECK(mf_shape_make(shapes.shape, ops, sizeof ops, sizeof(node), 0) == NULL && mf_shapes_closed(&shapes));
    return shapes;
}

static mf_trace
traced(const mf_shapes *shapes, void *root)
{
    mf_failure failure;
    mf_trace trace = {.shapes = shapes, .low = LOW, .high = HIGH, .follow = true, .limit = 1000000, .node_count = 1};
    trace.node = calloc(1, sizeof *trace.node);
    *trace.node = (mf_node){.address = (uintptr_t)root, .as_if = (uintptr_t)root, .count = 1, .in_place = true};
    trace.own = calloc(1, sizeof *trace.own);
    *trace.own = (mf_range){(uintptr_t)root, (uintptr_t)root + sizeof(node)};
    trace.own_count = 1;
    CHECK(mf_trace_run(&trace, &failure));
    return trace;
}

/* All over the place: a circle, with a second pointer anywhere or nowhere. */
static node *
make_nodes(void)
{
    node *nodes = calloc(NODES, sizeof *nodes);
    uint64_t noise = 1;
    for (uint64_t i = 0; i < NODES; i++) {
        noise = noise * UINT64_C(6364136223846793005) + 1442695040888963407;
        nodes[i].next = &nodes[(i * 7919 + 1) % NODES];
        nodes[i].other = noise >> 62 != 0 ? &nodes[(noise >> 20) % NODES] : (node *)(uintptr_t)noise;
        nodes[i].data = LOW + i;
    }
    return nodes;
}

static void
test_a_tangle(const mf_shapes *shapes)
{
    node *nodes = make_nodes();
    mf_trace trace = traced(shapes, nodes);
    mf_exact *exact = calloc(NODES, sizeof *exact);
    for (uint64_t i = 0; i < NODES; i++) {
        exact[i] = (mf_exact){LOW + i, LOW + 2 * NODES - i};
    }
    mf_mapping mapping = {.low = LOW, .high = HIGH, .exact = exact, .exact_count = NODES};
    mf_patches patches;
    mf_failure failure;
    CHECK(mf_mapping_ready(&mapping) == NULL && mf_patches_make(&patches, &trace, &mapping));
    CHECK(patches.dangling_count == 0 && patches.count == trace.image.count && patches.count > NODES / 2);
    CHECK(mf_patches_apply(&patches, &failure));
    size_t changed = 0;
    for (uint64_t i = 0; i < NODES; i++) {
        CHECK(nodes[i].data == LOW + i || nodes[i].data == LOW + 2 * NODES - i);
        changed += nodes[i].data != LOW + i;
    }
    CHECK(changed == patches.count && mf_patches_undo(&patches, &failure));
    for (uint64_t i = 0; i < NODES; i++) {
        CHECK(nodes[i].data == LOW + i);
    }
    mf_patches_free(&patches);
    mf_mapping_free(&mapping);
    mf_trace_free(&trace);
    free(nodes);
}

/* What is mapped may be unmapped between finding and writing. */
static void
test_memory_that_goes_away(const mf_shapes *shapes)
{
    node *there = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    node root = {there, NULL, LOW + 8};
    mf_patches patches;
    mf_failure failure;
    CHECK(there != MAP_FAILED);
    there->data = LOW + 16;
    mf_trace trace = traced(shapes, &root);
    mf_exact *exact = calloc(2, sizeof *exact);
    exact[0] = (mf_exact){LOW + 16, 1};
    exact[1] = (mf_exact){LOW + 8, 2};
    mf_mapping mapping = {.low = LOW, .high = HIGH, .exact = exact, .exact_count = 2};
    CHECK(mf_mapping_ready(&mapping) == NULL && mf_patches_make(&patches, &trace, &mapping) && patches.count == 2);
    munmap(there, 4096);
    CHECK(!mf_patches_apply(&patches, &failure) && failure.kind == MF_SYSTEM && root.data == LOW + 8);
    mf_patches_free(&patches);
    mf_mapping_free(&mapping);
    mf_trace_free(&trace);
}

static void
test_what_was_seen(void)
{
    mf_seen seen = {NULL, 0, 0};
    for (uint64_t i = 0; i < 100000; i++) {
        CHECK(mf_seen_add(&seen, i * 64, (uint32_t)(i % 3)) == MF_SEEN_NEW);
    }
    for (uint64_t i = 0; i < 100000; i++) {
        CHECK(mf_seen_add(&seen, i * 64, (uint32_t)(i % 3)) == MF_SEEN_BEFORE);
        CHECK(mf_seen_add(&seen, i * 64, 3) == MF_SEEN_NEW);
    }
    mf_seen_free(&seen);
}

int
main(void)
{
    mf_shapes shapes = node_shapes();
    test_a_tangle(&shapes);
    test_memory_that_goes_away(&shapes);
    test_what_was_seen();
    mf_shapes_free(&shapes);
    return 0;
}
