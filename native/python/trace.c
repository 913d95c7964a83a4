/* Shapes, Trace and Patches: native/trace.h and native/patches.h for Python.  The GIL is released while pointers are
 * followed and written. */
#include "moving.h"

#include <stdlib.h>
#include <structmember.h>

#include "../patches.h"

static PyTypeObject *ShapesType, *TraceType, *PatchesType;

/* ---- Shapes ----------------------------------------------------------------------------------------------------------- */

typedef struct Shapes {
    PyObject_HEAD
    mf_shapes shapes;
} Shapes;

/* Makes one shape; -1 with an exception set. */
static int
fill_shape(mf_shape *shape, PyObject *object)
{
    Py_buffer ops;
    uint64_t size;
    unsigned flags;
    if (!PyTuple_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a shape is a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(object, "y*O&I", &ops, convert_word, &size, &flags)) {
        return -1;
    }
    const char *problem = mf_shape_make(shape, ops.buf, (size_t)ops.len, size, flags);
    PyBuffer_Release(&ops);
    if (problem != NULL) {
        PyErr_SetString(PyExc_ValueError, problem);
    }
    return problem != NULL ? -1 : 0;
}

static int
fill_shapes(mf_shapes *shapes, PyObject *given)
{
    PyObject *fast = PySequence_Fast(given, "the shapes are a sequence");
    size_t count = fast != NULL ? (size_t)PySequence_Fast_GET_SIZE(fast) : 0;
    int problem = fast != NULL ? 0 : -1;
    if (fast != NULL && (count >= UINT32_MAX || (shapes->shape = calloc(count + 1, sizeof *shapes->shape)) == NULL)) {
        PyErr_NoMemory();
        problem = -1;
    }
    for (size_t i = 0; problem == 0 && i < count; i++) {
        shapes->count++;
        problem = fill_shape(&shapes->shape[i], PySequence_Fast_GET_ITEM(fast, (Py_ssize_t)i));
    }
    Py_XDECREF(fast);
    if (problem == 0 && !mf_shapes_closed(shapes)) {
        PyErr_SetString(PyExc_ValueError, "a pointer points to a shape that there isn't");
        problem = -1;
    }
    return problem;
}

static PyObject *
shapes_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"shapes", NULL};
    PyObject *given;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O", names, &given)) {
        return NULL;
    }
    Shapes *self = (Shapes *)type->tp_alloc(type, 0);
    if (self != NULL && fill_shapes(&self->shapes, given) != 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void
shapes_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    mf_shapes_free(&((Shapes *)object)->shapes);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- how a pointer was reached -------------------------------------------------------------------------------------------- */

typedef struct Trace {
    PyObject_HEAD
    mf_trace trace;
    PyObject *shapes;
} Trace;

enum { MOST_STEPS = 32 }; /* of a `via`: a list of a million items would have a million */

/* (shape, element, path, iterations) */
static PyObject *
step_of(const mf_trace *trace, uint32_t node, uint64_t offset)
{
    const mf_shape *shape = &trace->shapes->shape[trace->node[node].shape];
    uint64_t element = offset / shape->size; /* it has a pointer, so it has a size */
    mf_located located;
    mf_shape_locate(shape, offset % shape->size, &located);
    PyObject *at = tuple_of(located.at, located.depth);
    return at != NULL ? Py_BuildValue("(IKIN)", (unsigned)trace->node[node].shape, (unsigned long long)element,
                                      (unsigned)located.path, at)
                      : NULL;
}

/* The steps from a root to a pointer, and the root; NULL with an exception set. */
static PyObject *
via_of(const mf_trace *trace, uint32_t node, uint64_t offset, uint32_t *root)
{
    size_t length = 1;
    for (*root = node; *root >= trace->root_count; *root = trace->node[*root].holder) {
        length++;
    }
    size_t shown = length <= MOST_STEPS ? length : MOST_STEPS + 1;
    PyObject *via = PyTuple_New((Py_ssize_t)shown);
    for (size_t i = length; via != NULL && i-- > 0;) {
        size_t slot = i;
        if (length > MOST_STEPS && i >= MOST_STEPS / 2) {
            slot = length - i <= MOST_STEPS / 2 ? shown - (length - i) : MOST_STEPS / 2;
        }
        bool cut = length > MOST_STEPS && slot == MOST_STEPS / 2;
        PyObject *step = cut ? Py_NewRef(Py_None) : step_of(trace, node, offset);
        if (step == NULL) {
            Py_CLEAR(via);
            break;
        }
        Py_XDECREF(PyTuple_GET_ITEM(via, (Py_ssize_t)slot)); /* what is left out shares one slot */
        PyTuple_SET_ITEM(via, (Py_ssize_t)slot, step);
        offset = trace->node[node].offset;
        node = trace->node[node].holder;
    }
    return via;
}

static PyObject *
image_pointer(const mf_trace *trace, const mf_spot *spot)
{
    uint32_t root;
    PyObject *via = via_of(trace, spot->node, spot->offset, &root);
    return via != NULL ? Py_BuildValue("(KIN)", (unsigned long long)spot->value, (unsigned)root, via) : NULL;
}

static PyObject *
foreign_pointer(const mf_trace *trace, const mf_spot *spot)
{
    uint32_t root;
    PyObject *via = via_of(trace, spot->node, spot->offset, &root);
    return via != NULL ? Py_BuildValue("(KiIN)", (unsigned long long)spot->value, (int)spot->shape - 1, (unsigned)root, via)
                       : NULL;
}

static PyObject *
list_of(const mf_trace *trace, const mf_spots *spots, PyObject *(*item)(const mf_trace *, const mf_spot *))
{
    PyObject *list = PyList_New((Py_ssize_t)spots->count);
    for (size_t i = 0; list != NULL && i < spots->count; i++) {
        PyObject *made = item(trace, &spots->spot[i]);
        if (made == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, made);
        }
    }
    return list;
}

/* ---- Trace ------------------------------------------------------------------------------------------------------------------ */

static int
root_item(PyObject *object, void *item, void *closure)
{
    mf_node *root = item;
    const mf_shapes *shapes = closure;
    unsigned shape;
    int in_place = 0;
    if (!PyTuple_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a root is a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(object, "O&O&IO&|p", convert_word, &root->address, convert_word, &root->as_if, &shape,
                          convert_word, &root->count, &in_place)) {
        return -1;
    }
    uint64_t bytes;
    if (shape >= shapes->count || __builtin_mul_overflow(shapes->shape[shape].size, root->count, &bytes) ||
        root->as_if + bytes < root->as_if || (in_place && root->address != root->as_if)) {
        PyErr_SetString(PyExc_ValueError, "a root has no such shape, or no such place");
        return -1;
    }
    root->shape = shape;
    root->in_place = in_place != 0;
    return 0;
}

static int
range_item(PyObject *object, void *item, void *Py_UNUSED(closure))
{
    mf_range *range = item;
    if (!PyTuple_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a block is a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(object, "O&O&", convert_word, &range->start, convert_word, &range->end)) {
        return -1;
    }
    if (range->end < range->start) {
        PyErr_SetString(PyExc_ValueError, "a block ends before it begins");
        return -1;
    }
    return 0;
}

static int
by_start(const void *left, const void *right)
{
    const mf_range *a = left, *b = right;
    return (a->start > b->start) - (a->start < b->start);
}

/* Adds the roots to the blocks, sorts them, and makes one of those that overlap. */
static int
own_ranges(mf_trace *trace)
{
    mf_range *grown = realloc(trace->own, (trace->own_count + trace->node_count + 1) * sizeof *grown);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    trace->own = grown;
    for (size_t i = 0; i < trace->node_count; i++) {
        const mf_node *root = &trace->node[i];
        grown[trace->own_count++] =
            (mf_range){root->as_if, root->as_if + root->count * trace->shapes->shape[root->shape].size};
    }
    qsort(grown, trace->own_count, sizeof *grown, by_start);
    size_t kept = 0;
    for (size_t i = 0; i < trace->own_count; i++) {
        if (kept > 0 && grown[i].start < grown[kept - 1].end) {
            grown[kept - 1].end = grown[i].end > grown[kept - 1].end ? grown[i].end : grown[kept - 1].end;
        } else {
            grown[kept++] = grown[i];
        }
    }
    trace->own_count = kept;
    return 0;
}

static int
fill_trace(mf_trace *trace, PyObject *roots, PyObject *blocks)
{
    void *items;
    if (items_from(roots, "the roots are a sequence", sizeof(mf_node), root_item, (void *)trace->shapes, &items,
                   &trace->node_count) != 0) {
        return -1;
    }
    trace->node = items;
    if (blocks != NULL) {
        if (items_from(blocks, "the blocks are a sequence", sizeof(mf_range), range_item, NULL, &items,
                       &trace->own_count) != 0) {
            return -1;
        }
        trace->own = items;
    }
    if (trace->node_count + trace->limit >= UINT32_MAX || trace->low > trace->high) {
        PyErr_SetString(PyExc_ValueError, "there can't be so many roots or objects, or such an image");
        return -1;
    }
    return own_ranges(trace);
}

PyObject *
trace_run(PyObject *Py_UNUSED(module), PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"shapes", "roots", "low", "high", "blocks", "follow", "limit", NULL};
    PyObject *shapes, *roots, *blocks = NULL;
    uint64_t low, high, limit = 1000000;
    int follow = 1;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O!OO&O&|OpO&", names, ShapesType, &shapes, &roots,
                                     convert_word, &low, convert_word, &high, &blocks, &follow, convert_word, &limit)) {
        return NULL;
    }
    Trace *self = (Trace *)TraceType->tp_alloc(TraceType, 0);
    if (self == NULL) {
        return NULL;
    }
    self->shapes = Py_NewRef(shapes);
    self->trace.shapes = &((Shapes *)shapes)->shapes;
    self->trace.low = low;
    self->trace.high = high;
    self->trace.follow = follow != 0;
    self->trace.limit = limit < UINT32_MAX ? limit : UINT32_MAX;
    if (fill_trace(&self->trace, roots, blocks) != 0) {
        Py_DECREF(self);
        return NULL;
    }
    mf_failure failure;
    bool done;
    Py_BEGIN_ALLOW_THREADS
    done = mf_trace_run(&self->trace, &failure);
    Py_END_ALLOW_THREADS
    if (!done) {
        raise_error(errors.base, NULL, "%s", failure.text);
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void
trace_dealloc(PyObject *object)
{
    Trace *self = (Trace *)object;
    PyTypeObject *type = Py_TYPE(object);
    mf_trace_free(&self->trace);
    Py_CLEAR(self->shapes);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *
trace_image(PyObject *object, void *Py_UNUSED(closure))
{
    const mf_trace *trace = &((Trace *)object)->trace;
    return list_of(trace, &trace->image, image_pointer);
}

static PyObject *
trace_foreign(PyObject *object, void *Py_UNUSED(closure))
{
    const mf_trace *trace = &((Trace *)object)->trace;
    return list_of(trace, &trace->foreign, foreign_pointer);
}

static PyObject *
trace_objects(PyObject *object, void *Py_UNUSED(closure))
{
    const mf_trace *trace = &((Trace *)object)->trace;
    return PyLong_FromSize_t(trace->node_count - trace->root_count);
}

/* ---- Patches ---------------------------------------------------------------------------------------------------------------- */

typedef struct Patches {
    PyObject_HEAD
    mf_patches patches;
    PyObject *trace;
} Patches;

static PyObject *
trace_patches(PyObject *object, PyObject *argument)
{
    PyObject *mapping;
    if (!convert_mapping(argument, &mapping)) {
        return NULL;
    }
    if (mapping == NULL) {
        PyErr_SetString(PyExc_TypeError, "a Mapping is wanted, not None");
        return NULL;
    }
    Patches *self = (Patches *)PatchesType->tp_alloc(PatchesType, 0);
    if (self == NULL) {
        return NULL;
    }
    self->trace = Py_NewRef(object);
    bool made;
    Py_INCREF(mapping);
    Py_BEGIN_ALLOW_THREADS
    made = mf_patches_make(&self->patches, &((Trace *)object)->trace, mapping_of(mapping));
    Py_END_ALLOW_THREADS
    Py_DECREF(mapping);
    if (!made) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void
patches_dealloc(PyObject *object)
{
    Patches *self = (Patches *)object;
    PyTypeObject *type = Py_TYPE(object);
    mf_patches_free(&self->patches);
    Py_CLEAR(self->trace);
    type->tp_free(object);
    Py_DECREF(type);
}

/* Appends (value, root, via, why). */
static int
append_refused(PyObject *list, const mf_trace *trace, uint32_t which, const char *why)
{
    const mf_spot *spot = &trace->patchable.spot[which];
    uint32_t root;
    PyObject *via = via_of(trace, spot->node, spot->offset, &root);
    PyObject *item =
        via != NULL ? Py_BuildValue("(KINs)", (unsigned long long)spot->value, (unsigned)root, via, why) : NULL;
    int problem = item != NULL ? PyList_Append(list, item) : -1;
    Py_XDECREF(item);
    return problem;
}

static PyObject *
patches_refused(PyObject *object, void *Py_UNUSED(closure))
{
    const mf_patches *patches = &((Patches *)object)->patches;
    const mf_trace *trace = &((Trace *)((Patches *)object)->trace)->trace;
    PyObject *list = PyList_New(0);
    int problem = list != NULL ? 0 : -1;
    for (size_t i = 0; problem == 0 && i < patches->dangling_count; i++) {
        problem = append_refused(list, trace, patches->dangling[i], "dangling");
    }
    for (size_t i = 0; problem == 0 && i < patches->count; i++) {
        if (!patches->patch[i].writable) {
            problem = append_refused(list, trace, patches->patch[i].spot, "read-only memory");
        }
    }
    if (problem != 0) {
        Py_CLEAR(list);
    }
    return list;
}

static PyObject *
patches_count(PyObject *object, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(((Patches *)object)->patches.count);
}

static PyObject *
write_patches(PyObject *object, bool (*write)(mf_patches *, mf_failure *))
{
    mf_failure failure;
    bool done;
    Py_BEGIN_ALLOW_THREADS
    done = write(&((Patches *)object)->patches, &failure);
    Py_END_ALLOW_THREADS
    if (!done) {
        raise_error(errors.base, NULL, "%s", failure.text);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
patches_apply(PyObject *object, PyObject *Py_UNUSED(unused))
{
    return write_patches(object, mf_patches_apply);
}

static PyObject *
patches_undo(PyObject *object, PyObject *Py_UNUSED(unused))
{
    return write_patches(object, mf_patches_undo);
}

/* ---- the types -------------------------------------------------------------------------------------------------------------- */

static PyMemberDef trace_members[] = {
    {"limit_reached", T_BOOL, offsetof(Trace, trace.limit_reached), READONLY, "Whether there were more objects."},
    {NULL},
};

static PyGetSetDef trace_getters[] = {
    {"image", trace_image, NULL, "Pointers into the old image.", NULL},
    {"foreign", trace_foreign, NULL, "Pointers to what must not be there, or to foreign memory.", NULL},
    {"objects", trace_objects, NULL, "How many objects were reached.", NULL},
    {NULL},
};

static PyMethodDef trace_methods[] = {
    {"patches", trace_patches, METH_O, "Return what has to be rewritten in place."},
    {NULL},
};

static PyGetSetDef patches_getters[] = {
    {"dangling", patches_refused, NULL, "Pointers that can't be rewritten.", NULL},
    {"count", patches_count, NULL, "How many pointers are rewritten.", NULL},
    {NULL},
};

static PyMethodDef patches_methods[] = {
    {"apply", patches_apply, METH_NOARGS, "Rewrite all pointers, or none."},
    {"undo", patches_undo, METH_NOARGS, "Make them what they were."},
    {NULL},
};

static PyType_Slot shapes_slots[] = {
    {Py_tp_doc, "Where the pointers of each type are."},
    {Py_tp_new, shapes_new},
    {Py_tp_dealloc, shapes_dealloc},
    {0, NULL},
};

static PyType_Slot trace_slots[] = {
    {Py_tp_doc, "What was found from some roots on."},
    {Py_tp_dealloc, trace_dealloc},
    {Py_tp_members, trace_members},
    {Py_tp_getset, trace_getters},
    {Py_tp_methods, trace_methods},
    {0, NULL},
};

static PyType_Slot patches_slots[] = {
    {Py_tp_doc, "Pointers to be rewritten where they lie."},
    {Py_tp_dealloc, patches_dealloc},
    {Py_tp_getset, patches_getters},
    {Py_tp_methods, patches_methods},
    {0, NULL},
};

static PyType_Spec shapes_spec = {
    .name = "midflight._core.Shapes",
    .basicsize = sizeof(Shapes),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = shapes_slots,
};

static PyType_Spec trace_spec = {
    .name = "midflight._core.Trace",
    .basicsize = sizeof(Trace),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = trace_slots,
};

static PyType_Spec patches_spec = {
    .name = "midflight._core.Patches",
    .basicsize = sizeof(Patches),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = patches_slots,
};

int
trace_ready(PyObject *module)
{
    ShapesType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &shapes_spec, NULL);
    TraceType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &trace_spec, NULL);
    PatchesType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &patches_spec, NULL);
    if (ShapesType == NULL || TraceType == NULL || PatchesType == NULL || PyModule_AddType(module, ShapesType) != 0 ||
        PyModule_AddType(module, TraceType) != 0) {
        return -1;
    }
    return PyModule_AddType(module, PatchesType);
}
