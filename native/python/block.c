/* Block: a typed block of a module's heap, as an argument of a call.
 *
 * Owns a reference to its heap, so that the memory stays mapped; where the block is, Python says, all at once.  Protected by
 * the GIL.
 */
#include "core.h"

#include <structmember.h>

#include "../heap.h"

PyTypeObject *BlockType;

/* What Python's class of blocks is made of. */
typedef struct Block {
    PyObject_HEAD
    PyObject *heap; /* Heap; NULL: the block has been freed */
    unsigned long long address;
    unsigned int serial;
    PyObject *type_name, *target, *ctype; /* as of a Pointer to it */
} Block;

bool
block_check(PyObject *object)
{
    return PyObject_TypeCheck(object, BlockType);
}

int
block_address(PyObject *object, const Param *param, PyObject *function, uint64_t *address, size_t *size)
{
    const Block *self = (const Block *)object;
    mf_block block;
    mf_heap *heap = self->heap != NULL ? heap_memory(self->heap) : NULL;
    if (heap == NULL || !mf_heap_find(heap, (uintptr_t)self->address, &block) || block.serial != self->serial ||
        block.address != self->address) {
        raise_error(errors.argument_type, function, "parameter %R got a block that has been freed", param->name);
        return -1;
    }
    if (param->item != 'v' && PyUnicode_Compare(self->target, param->target) != 0) {
        raise_error(errors.argument_type, function, "parameter %R is %U, and a block of %U was given", param->name,
                    param->type_name, self->type_name);
        return -1;
    }
    if (param->item == 'r' && self->ctype != Py_None && check_target(param, self->ctype, object, function) != 0) {
        return -1;
    }
    *address = block.address;
    *size = block.size;
    return 0;
}

static int
block_traverse(PyObject *object, visitproc visit, void *arg)
{
    Block *self = (Block *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->heap);
    Py_VISIT(self->ctype);
    return 0;
}

static int
block_clear(PyObject *object)
{
    Block *self = (Block *)object;
    Py_CLEAR(self->heap);
    Py_XSETREF(self->ctype, Py_NewRef(Py_None));
    return 0;
}

static void
block_dealloc(PyObject *object)
{
    Block *self = (Block *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_CLEAR(self->heap);
    Py_CLEAR(self->type_name);
    Py_CLEAR(self->target);
    Py_CLEAR(self->ctype);
    type->tp_free(object);
    Py_DECREF(type);
}

/* (heap, address, serial, type name, target, ctype): all at once, so that a call never sees half of a move. */
static PyObject *
block_place(PyObject *object, PyObject *arguments)
{
    Block *self = (Block *)object;
    unsigned long long address;
    unsigned int serial;
    PyObject *heap, *name, *target, *ctype;
    if (!PyArg_ParseTuple(arguments, "O!KIUUO", HeapType, &heap, &address, &serial, &name, &target, &ctype)) {
        return NULL;
    }
    self->address = address;
    self->serial = serial;
    Py_XSETREF(self->type_name, Py_NewRef(name));
    Py_XSETREF(self->target, Py_NewRef(target));
    Py_XSETREF(self->ctype, Py_NewRef(ctype));
    Py_XSETREF(self->heap, Py_NewRef(heap));
    Py_RETURN_NONE;
}

static PyMemberDef block_members[] = {
    {"address", T_ULONGLONG, offsetof(Block, address), READONLY, "Where it is."},
    {"serial", T_UINT, offsetof(Block, serial), READONLY, "Tells it from an earlier block at this address."},
    {"heap", T_OBJECT, offsetof(Block, heap), READONLY, "The heap that it is in; None: it has been freed."},
    {"type", T_OBJECT, offsetof(Block, type_name), READONLY, "The type of its elements as C writes it."},
    {"target", T_OBJECT, offsetof(Block, target), READONLY, "The same text for the same type."},
    {"ctype", T_OBJECT, offsetof(Block, ctype), READONLY, "The ctypes class of an element, or None."},
    {NULL},
};

static PyMethodDef block_methods[] = {
    {"_place", block_place, METH_VARARGS, "Say where and what it is."},
    {NULL},
};

static PyType_Slot block_slots[] = {
    {Py_tp_doc, "A typed block: can be passed where a pointer to its type is expected."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_traverse, block_traverse},
    {Py_tp_clear, block_clear},
    {Py_tp_dealloc, block_dealloc},
    {Py_tp_members, block_members},
    {Py_tp_methods, block_methods},
    {0, NULL},
};

static PyType_Spec block_spec = {
    .name = "midflight._core.Block",
    .basicsize = sizeof(Block),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = block_slots,
};

int
block_ready(PyObject *module)
{
    BlockType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &block_spec, NULL);
    return BlockType != NULL ? PyModule_AddType(module, BlockType) : -1;
}
