/* Heap and View: native/heap.h for Python, and what a library finds behind `midflight_module`.
 *
 * Guarantees:
 * - A heap's memory stays mapped for as long as anything refers to it: a Heap, a View, a Block, or a version whose code
 *   is there (between attach and detach).
 * - A View's memory isn't used for anything else while the View, or a buffer of it, is alive.
 *
 * Nothing of Python's is called while a heap is locked: a thread without the GIL may wait for that lock.
 */
#include "core.h"

#include <stdlib.h>
#include <structmember.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../module.h"
#include "../shared.h"
#include "link.h"

PyTypeObject *HeapType, *ViewType;

/* A version that may use the heap. */
typedef struct Attached {
    mf_module module;
    struct Attached *next;
} Attached;

typedef struct Heap {
    PyObject_HEAD
    mf_heap *heap;     /* owned */
    mf_shared *shared; /* owned; NULL: private memory */
    Attached *attached;
    PyObject *name;
} Heap;

/* ---- life --------------------------------------------------------------------------------------------------------------- */

/* As much shared memory as can be had. */
static mf_shared *
new_shared(void)
{
    mf_failure failure = {.kind = MF_OK};
    mf_shared *shared = NULL;
    for (size_t wish = mf_space_wish(); shared == NULL && wish >= (size_t)8 << 20; wish /= 2) {
        shared = mf_shared_new(wish, &failure);
    }
    if (shared == NULL) {
        PyErr_SetString(PyExc_MemoryError, failure.text);
    }
    return shared;
}

static PyObject *
heap_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"name", "shared", NULL};
    PyObject *name;
    int shared = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "U|p", names, &name, &shared)) {
        return NULL;
    }
    Heap *self = (Heap *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->name = Py_NewRef(name);
    self->heap = mf_heap_new();
    self->shared = self->heap != NULL && shared ? new_shared() : NULL;
    bool ready = self->heap != NULL && (!shared || (self->shared != NULL && mf_heap_share(self->heap, self->shared->memory,
                                                                                          self->shared->size)));
    if (!ready) {
        Py_DECREF(self);
        return PyErr_Occurred() != NULL ? NULL : PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void
heap_dealloc(PyObject *object)
{
    Heap *self = (Heap *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->heap != NULL && self->attached == NULL) { /* else code that can't be unloaded may still use it */
        if (self->shared != NULL) {
            mf_link_forget(self->shared);
        }
        mf_heap_free(self->heap);
        if (self->shared != NULL) {
            mf_shared_free(self->shared);
        }
    }
    Py_CLEAR(self->name);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- versions and workers ------------------------------------------------------------------------------------------------ */

static Attached **
find_attached(Heap *self, unsigned long version)
{
    Attached **link = &self->attached;
    while (*link != NULL && (*link)->module.version != version) {
        link = &(*link)->next;
    }
    return link;
}

static PyObject *
heap_attach(PyObject *object, PyObject *number)
{
    Heap *self = (Heap *)object;
    unsigned long version = PyLong_AsUnsignedLong(number);
    const char *name = PyUnicode_AsUTF8(self->name);
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    Attached *made = PyMem_RawCalloc(1, sizeof *made);
    if (made == NULL) {
        return PyErr_NoMemory();
    }
    mf_module_init(&made->module, self->heap, name, (uint32_t)version, NULL);
    made->next = self->attached;
    self->attached = made;
    return PyLong_FromVoidPtr(&made->module);
}

static PyObject *
heap_detach(PyObject *object, PyObject *number)
{
    Heap *self = (Heap *)object;
    unsigned long version = PyLong_AsUnsignedLong(number);
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    Attached **link = find_attached(self, version), *gone = *link;
    if (gone != NULL) {
        *link = gone->next;
        PyMem_RawFree(gone);
    }
    Py_RETURN_NONE;
}

static PyObject *
heap_set_yield(PyObject *object, PyObject *arguments)
{
    unsigned long version;
    int wanted;
    if (!PyArg_ParseTuple(arguments, "kp", &version, &wanted)) {
        return NULL;
    }
    Attached *attached = *find_attached((Heap *)object, version);
    if (attached != NULL) {
        attached->module.should_yield = (unsigned)wanted;
    }
    Py_RETURN_NONE;
}

static PyObject *
heap_seat(PyObject *object, PyObject *Py_UNUSED(unused))
{
    uint32_t seat = mf_heap_seat(((Heap *)object)->heap);
    return seat != 0 ? PyLong_FromUnsignedLong(seat) : PyErr_NoMemory();
}

static PyObject *
heap_left(PyObject *object, PyObject *seat)
{
    unsigned long number = PyLong_AsUnsignedLong(seat);
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    mf_heap_left(((Heap *)object)->heap, (uint32_t)number);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *
heap_map(PyObject *object, PyObject *given)
{
    Heap *self = (Heap *)object;
    mf_link *link = link_of(given);
    bool mapped = false;
    if (link == NULL || self->shared == NULL) {
        PyErr_SetString(PyExc_ValueError, "a shared heap and a link are needed");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    mapped = mf_link_map(link, self->shared);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(mapped);
}

/* Gives the child of a fork memory of its own, at the same address. */
static bool
separate(Heap *self)
{
    mf_shared *shared = self->shared;
    int descriptor = memfd_create("midflight:shared", MFD_CLOEXEC);
    bool done = descriptor >= 0 && ftruncate(descriptor, (off_t)shared->size) == 0 && mf_heap_copy(self->heap, descriptor) &&
                mmap(shared->memory, shared->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, 0) != MAP_FAILED;
    if (!done) {
        if (descriptor >= 0) {
            close(descriptor);
        }
        return false;
    }
    close(shared->descriptor);
    shared->descriptor = descriptor;
    mf_heap_copied(self->heap);
    return true;
}

static PyObject *
heap_after_fork(PyObject *object, PyObject *Py_UNUSED(unused))
{
    Heap *self = (Heap *)object;
    if (self->shared != NULL && !separate(self)) {
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

/* ---- blocks -------------------------------------------------------------------------------------------------------------- */

/* A converter for PyArg_Parse: (name, size, align, tail or None, tail_offset, tail_size); it borrows the texts. */
static int
type_from(PyObject *object, void *result)
{
    mf_block_type *type = result;
    unsigned long long size, align, tail_offset, tail_size;
    if (!PyTuple_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a block's type is a tuple");
        return 0;
    }
    if (!PyArg_ParseTuple(object, "sKKzKK", &type->name, &size, &align, &type->tail, &tail_offset, &tail_size)) {
        return 0;
    }
    type->size = size;
    type->align = align;
    type->tail_offset = tail_offset;
    type->tail_size = tail_size;
    return 1;
}

static PyObject *
raise_result(mf_heap_result result)
{
    switch (result) {
    case MF_HEAP_OK: Py_RETURN_NONE;
    case MF_HEAP_NO_ROOM: return PyErr_NoMemory();
    case MF_HEAP_NO_BLOCK: PyErr_SetString(PyExc_LookupError, "no block begins there"); return NULL;
    case MF_HEAP_NOT_YOURS: PyErr_SetString(PyExc_LookupError, "the block is Python's"); return NULL;
    case MF_HEAP_BAD_TYPE: PyErr_SetString(PyExc_ValueError, "the block can't have that type"); return NULL;
    }
    return NULL;
}

static PyObject *
from_block(const mf_block *block)
{
    return Py_BuildValue("(KIKIIK)", (unsigned long long)block->address, block->type, (unsigned long long)block->count,
                         block->owner, block->serial, (unsigned long long)block->size);
}

static PyObject *
heap_make(PyObject *object, PyObject *arguments)
{
    mf_block_type type;
    unsigned long long count;
    unsigned int owner = MF_PYTHON;
    void *made;
    mf_block block;
    if (!PyArg_ParseTuple(arguments, "O&K|I", type_from, &type, &count, &owner)) {
        return NULL;
    }
    mf_heap *heap = ((Heap *)object)->heap;
    mf_heap_result result = mf_heap_make(heap, &type, count, owner, &made);
    if (result != MF_HEAP_OK) {
        return raise_result(result);
    }
    if (!mf_heap_find(heap, (uintptr_t)made, &block)) {
        return raise_result(MF_HEAP_NO_BLOCK); /* a worker has overwritten it already */
    }
    return from_block(&block);
}

static PyObject *
heap_resize(PyObject *object, PyObject *arguments)
{
    mf_block_type type;
    unsigned long long address, count;
    unsigned int owner = MF_PYTHON;
    mf_block block;
    if (!PyArg_ParseTuple(arguments, "KO&K|I", &address, type_from, &type, &count, &owner)) {
        return NULL;
    }
    mf_heap *heap = ((Heap *)object)->heap;
    void *place = (void *)(uintptr_t)address;
    mf_heap_result result = mf_heap_resize(heap, &place, &type, count, owner);
    if (result == MF_HEAP_OK && !mf_heap_find(heap, (uintptr_t)place, &block)) {
        result = MF_HEAP_NO_BLOCK;
    }
    return result == MF_HEAP_OK ? from_block(&block) : raise_result(result);
}

static PyObject *
heap_discard(PyObject *object, PyObject *arguments)
{
    unsigned long long address;
    unsigned int owner = MF_PYTHON;
    if (!PyArg_ParseTuple(arguments, "K|I", &address, &owner)) {
        return NULL;
    }
    return raise_result(mf_heap_discard(((Heap *)object)->heap, (void *)(uintptr_t)address, owner));
}

static PyObject *
heap_blocks(PyObject *object, PyObject *Py_UNUSED(unused))
{
    size_t count;
    mf_block *blocks = mf_heap_list(((Heap *)object)->heap, &count);
    PyObject *list = count != SIZE_MAX ? PyList_New((Py_ssize_t)count) : PyErr_NoMemory();
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *one = from_block(&blocks[i]);
        if (one == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, one);
        }
    }
    free(blocks);
    return list;
}

static PyObject *
heap_find(PyObject *object, PyObject *address)
{
    unsigned long long at = PyLong_AsUnsignedLongLong(address);
    mf_block block;
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    if (!mf_heap_find(((Heap *)object)->heap, (uintptr_t)at, &block) || block.condemned) {
        Py_RETURN_NONE;
    }
    return from_block(&block);
}

static PyObject *
from_type(mf_heap *heap, uint32_t number)
{
    char name[MF_TYPE_NAME], tail[MF_TAIL_NAME];
    mf_block_type type;
    if (!mf_heap_type(heap, number, &type, name, tail)) {
        Py_RETURN_NONE;
    }
    PyObject *text = PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "replace");
    PyObject *member = type.tail != NULL ? PyUnicode_DecodeUTF8(tail, (Py_ssize_t)strlen(tail), "replace") : Py_NewRef(Py_None);
    if (text == NULL || member == NULL) {
        Py_XDECREF(text);
        Py_XDECREF(member);
        return NULL;
    }
    return Py_BuildValue("(NKKNKK)", text, (unsigned long long)type.size, (unsigned long long)type.align, member,
                         (unsigned long long)type.tail_offset, (unsigned long long)type.tail_size);
}

static PyObject *
heap_types(PyObject *object, PyObject *Py_UNUSED(unused))
{
    mf_heap *heap = ((Heap *)object)->heap;
    uint32_t count = mf_heap_types(heap);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (uint32_t i = 0; list != NULL && i < count; i++) {
        PyObject *one = from_type(heap, i);
        if (one == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, one);
        }
    }
    return list;
}

/* ---- swaps --------------------------------------------------------------------------------------------------------------- */

static PyObject *
heap_rename(PyObject *object, PyObject *arguments)
{
    mf_block_type type;
    unsigned long long address;
    if (!PyArg_ParseTuple(arguments, "KO&", &address, type_from, &type)) {
        return NULL;
    }
    return raise_result(mf_heap_rename(((Heap *)object)->heap, (void *)(uintptr_t)address, &type));
}

static PyObject *
heap_condemn(PyObject *object, PyObject *arguments)
{
    unsigned long long address;
    unsigned int owner;
    int condemned;
    if (!PyArg_ParseTuple(arguments, "KpI", &address, &condemned, &owner)) {
        return NULL;
    }
    return raise_result(mf_heap_condemn(((Heap *)object)->heap, (void *)(uintptr_t)address, condemned != 0, owner));
}

static PyObject *
heap_retire(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"owner", "all", NULL};
    unsigned int owner;
    int all = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "I|p", names, &owner, &all)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    mf_heap_retire(((Heap *)object)->heap, owner, all != 0);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *
heap_drop(PyObject *object, PyObject *last)
{
    unsigned long owner = PyLong_AsUnsignedLong(last);
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    mf_heap_drop(((Heap *)object)->heap, (uint32_t)owner);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *
heap_range(PyObject *object, void *Py_UNUSED(closure))
{
    uintptr_t low, high;
    if (!mf_heap_range(((Heap *)object)->heap, &low, &high)) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(KK)", (unsigned long long)low, (unsigned long long)high);
}

/* ---- views --------------------------------------------------------------------------------------------------------------- */

typedef struct View {
    PyObject_HEAD
    Heap *heap; /* owned */
    uintptr_t address;
    Py_ssize_t size;
} View;

static PyObject *
heap_view(PyObject *object, PyObject *arguments)
{
    Heap *self = (Heap *)object;
    unsigned long long address;
    unsigned int serial;
    mf_block block;
    if (!PyArg_ParseTuple(arguments, "KI", &address, &serial)) {
        return NULL;
    }
    View *view = (View *)ViewType->tp_alloc(ViewType, 0);
    if (view == NULL) {
        return NULL;
    }
    if (!mf_heap_hold(self->heap, (uintptr_t)address, serial)) {
        Py_DECREF(view);
        return raise_result(MF_HEAP_NO_BLOCK);
    }
    view->heap = (Heap *)Py_NewRef(object);
    view->address = (uintptr_t)address;
    view->size = mf_heap_find(self->heap, (uintptr_t)address, &block) ? (Py_ssize_t)block.size : 0;
    return (PyObject *)view;
}

static void
view_dealloc(PyObject *object)
{
    View *self = (View *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->heap != NULL) {
        mf_heap_let_go(self->heap->heap, self->address);
        Py_DECREF(self->heap);
    }
    type->tp_free(object);
    Py_DECREF(type);
}

static int
view_buffer(PyObject *object, Py_buffer *buffer, int flags)
{
    View *self = (View *)object;
    return PyBuffer_FillInfo(buffer, object, (void *)self->address, self->size, 0, flags);
}

/* ---- for blocks ----------------------------------------------------------------------------------------------------------- */

mf_heap *
heap_memory(PyObject *heap)
{
    return Py_IS_TYPE(heap, HeapType) ? ((Heap *)heap)->heap : NULL;
}

/* ---- types --------------------------------------------------------------------------------------------------------------- */

static PyGetSetDef heap_getters[] = {
    {"range", heap_range, NULL, "(low, high) of its memory, None as long as it has none.", NULL},
    {NULL},
};

static PyMethodDef heap_methods[] = {
    {"attach", heap_attach, METH_O, "Return the address that a version's `midflight_module` is to have."},
    {"detach", heap_detach, METH_O, "Say that a version's code is gone."},
    {"set_yield", heap_set_yield, METH_VARARGS, "Say to a version's calls whether they should return."},
    {"seat", heap_seat, METH_NOARGS, "Return the seat of a worker that is about to start."},
    {"left", heap_left, METH_O, "Say that a worker has ended."},
    {"map", heap_map, METH_O, "Let a worker see it; return whether it does."},
    {"after_fork", heap_after_fork, METH_NOARGS, "In the child: have memory of its own."},
    {"make", heap_make, METH_VARARGS, "Make a zeroed block."},
    {"resize", heap_resize, METH_VARARGS, "Give a block another number of elements."},
    {"discard", heap_discard, METH_VARARGS, "Free a block."},
    {"blocks", heap_blocks, METH_NOARGS, "Return all live blocks."},
    {"find", heap_find, METH_O, "Return the block that has an address in it, or None."},
    {"types", heap_types, METH_NOARGS, "Return the types of the blocks, by number."},
    {"rename", heap_rename, METH_VARARGS, "Give a block another type of the same size."},
    {"condemn", heap_condemn, METH_VARARGS, "Say whether a block is to be freed with a version."},
    {"retire", (PyCFunction)(void (*)(void))heap_retire, METH_VARARGS | METH_KEYWORDS, "Free a version's condemned blocks."},
    {"drop", heap_drop, METH_O, "Free all blocks of versions up to one."},
    {"view", heap_view, METH_VARARGS, "Return a View of a live block."},
    {NULL},
};

static PyType_Slot heap_slots[] = {
    {Py_tp_doc, "A module's typed blocks."},
    {Py_tp_new, heap_new},
    {Py_tp_dealloc, heap_dealloc},
    {Py_tp_getset, heap_getters},
    {Py_tp_methods, heap_methods},
    {0, NULL},
};

static PyType_Spec heap_spec = {
    .name = "midflight._core.Heap",
    .basicsize = sizeof(Heap),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = heap_slots,
};

static PyType_Slot view_slots[] = {
    {Py_tp_doc, "The memory of a block; it isn't used for anything else as long as this is alive.  Offers a buffer."},
    {Py_tp_dealloc, view_dealloc},
    {Py_bf_getbuffer, view_buffer},
    {0, NULL},
};

static PyType_Spec view_spec = {
    .name = "midflight._core.View",
    .basicsize = sizeof(View),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = view_slots,
};

int
heap_ready(PyObject *module)
{
    HeapType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &heap_spec, NULL);
    ViewType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &view_spec, NULL);
    if (HeapType == NULL || ViewType == NULL || PyModule_AddType(module, HeapType) != 0) {
        return -1;
    }
    return PyModule_AddType(module, ViewType);
}
