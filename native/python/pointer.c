/* Pointer: an address that a native function returned.
 *
 * Guarantee: as long as a Pointer is alive its version stays loaded, so what it points to in that version's own memory
 * stays mapped.  (It can't know whether the library itself has freed it.)
 */
#include "core.h"

#include <structmember.h>

#include "../shared.h"

PyTypeObject *PointerType;

/* Made once: the interpreter's cache of attributes would keep each name that is made anew. */
static PyObject *sizeof_ctype, *word_from_address, *word_value, *word_pointer;

typedef struct Pointer {
    PyObject_HEAD
    uint64_t address; /* never 0: a null pointer is None */
    Table *table;     /* owned, and counted in its `pointers` */
    PyObject *type_name, *target, *ctype;
    PyObject *link; /* of the worker in whose memory it points; NULL: in this process's; owned */
    PyObject *weakrefs;
} Pointer;

Pointed
pointer_parts(PyObject *object)
{
    const Pointer *self = (Pointer *)object;
    return (Pointed){self->address, self->type_name, self->target, self->ctype, self->link};
}

PyObject *
pointer_new(Table *table, uintptr_t address, PyObject *type_name, PyObject *target, PyObject *ctype, PyObject *link)
{
    if (address == 0) {
        Py_RETURN_NONE;
    }
    Pointer *self = (Pointer *)PointerType->tp_alloc(PointerType, 0);
    if (self != NULL) {
        self->address = address;
        self->table = (Table *)Py_NewRef((PyObject *)table);
        self->type_name = Py_NewRef(type_name);
        self->target = Py_NewRef(target);
        self->ctype = Py_NewRef(ctype);
        self->link = Py_XNewRef(link);
        table->pointers++;
    }
    return (PyObject *)self;
}

Table *
pointer_table(PyObject *object)
{
    return ((Pointer *)object)->table;
}

int
pointer_address(PyObject *object, const Param *param, PyObject *function, uint64_t *address, const PyObject *link)
{
    Pointed pointed = pointer_parts(object);
    return pointed_address(&pointed, object, param, function, address, link);
}

int
pointed_address(const Pointed *self, PyObject *object, const Param *param, PyObject *function, uint64_t *address,
                const PyObject *link)
{
    bool shared = self->link == NULL && link != NULL && mf_shared_find((const void *)(uintptr_t)self->address, 1) != NULL;
    if (self->link != link && !shared) {
        raise_error(errors.argument_type, function, "parameter %R got a pointer into the memory of %s", param->name,
                    self->link == NULL ? "this process, where the worker can't follow it: pass the object itself"
                    : link == NULL     ? "a worker process: it can be passed to functions of its own version only"
                                       : "another worker process, of another version or one that has ended");
        return -1;
    }
    /* `const` says what a function may do, not what there is, and a `target` doesn't mention it. */
    bool untyped = param->item == 'v' || PyUnicode_CompareWithASCIIString(self->target, "void") == 0;
    if (!untyped && PyUnicode_Compare(self->target, param->target) != 0) {
        raise_error(errors.argument_type, function, "parameter %R is %U, and a pointer of type %U was given",
                    param->name, param->type_name, self->type_name);
        return -1;
    }
    /* A struct may have got another layout since the version that the pointer comes from. */
    if (!untyped && param->item == 'r' && self->ctype != Py_None &&
        check_target(param, self->ctype, object, function) != 0) {
        return -1;
    }
    *address = self->address;
    return 0;
}

static int
pointer_traverse(PyObject *object, visitproc visit, void *arg)
{
    Pointer *self = (Pointer *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->table);
    Py_VISIT(self->ctype);
    return 0;
}

static void
pointer_dealloc(PyObject *object)
{
    Pointer *self = (Pointer *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    if (self->table != NULL) {
        self->table->pointers--;
        table_left(self->table);
    }
    Py_CLEAR(self->table);
    Py_CLEAR(self->type_name);
    Py_CLEAR(self->target);
    Py_CLEAR(self->ctype);
    Py_CLEAR(self->link);
    type->tp_free(object);
    Py_DECREF(type);
}

/* A worker's memory can't be read from here: 0, or -1 with an exception set. */
static int
need_near(const Pointer *self)
{
    if (self->link == NULL) {
        return 0;
    }
    raise_error(errors.unsupported, NULL, "a %U points into the memory of a worker process, which only its own "
                "functions can read: let one of them return what is there", self->type_name);
    return -1;
}

static PyObject *
need_ctype(Pointer *self)
{
    if (need_near(self) != 0) {
        return NULL;
    }
    if (self->ctype != Py_None) {
        return self->ctype;
    }
    raise_error(errors.unsupported, NULL, "what a %U points to isn't known, so it can't be read", self->type_name);
    return NULL;
}

/* A ctypes object on `address`; it keeps this pointer, and so the version, alive. */
static PyObject *
view_at(Pointer *self, uint64_t address)
{
    PyObject *ctype = need_ctype(self);
    PyObject *number = ctype != NULL ? PyLong_FromUnsignedLongLong(address) : NULL;
    PyObject *view = number != NULL ? PyObject_CallMethodOneArg(ctype, word_from_address, number) : NULL;
    Py_XDECREF(number);
    if (view != NULL && PyObject_SetAttr(view, word_pointer, (PyObject *)self) != 0) {
        Py_CLEAR(view);
    }
    return view;
}

static PyObject *
pointer_contents(PyObject *object, void *Py_UNUSED(closure))
{
    return view_at((Pointer *)object, ((Pointer *)object)->address);
}

/* c_char: its value would be bytes, but a `char` is a number here, as it is in C. */
static bool
is_char_ctype(PyObject *ctype)
{
    PyObject *code = is_simple_ctype(ctype) ? PyObject_GetAttr(ctype, type_attribute) : NULL;
    bool is_char = code != NULL && PyUnicode_Check(code) && PyUnicode_CompareWithASCIIString(code, "c") == 0;
    Py_XDECREF(code);
    PyErr_Clear();
    return is_char;
}

/* Numbers come as Python numbers, structs as views, as in ctypes. */
static PyObject *
pointer_item(PyObject *object, PyObject *index)
{
    Pointer *self = (Pointer *)object;
    PyObject *ctype = need_ctype(self);
    Py_ssize_t position = ctype != NULL ? PyNumber_AsSsize_t(index, PyExc_IndexError) : -1;
    if (position == -1 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *size = PyObject_CallOneArg(sizeof_ctype, ctype);
    if (size == NULL) {
        return NULL;
    }
    uint64_t place = self->address + (uint64_t)position * PyLong_AsUnsignedLongLong(size); /* wraps, as in C */
    Py_DECREF(size);
    if (is_char_ctype(ctype)) {
        return PyLong_FromLong(*(const char *)(uintptr_t)place);
    }
    PyObject *view = view_at(self, place);
    if (view == NULL || !is_simple_ctype(ctype)) {
        return view;
    }
    PyObject *value = PyObject_GetAttr(view, word_value);
    Py_DECREF(view);
    return value;
}

static PyObject *
pointer_string(PyObject *object, PyObject *Py_UNUSED(unused))
{
    Pointer *self = (Pointer *)object;
    if (PyUnicode_CompareWithASCIIString(self->target, "char") != 0 &&
        PyUnicode_CompareWithASCIIString(self->target, "int8") != 0 &&
        PyUnicode_CompareWithASCIIString(self->target, "uint8") != 0) {
        raise_error(errors.unsupported, NULL, "a %U doesn't point to text", self->type_name);
        return NULL;
    }
    if (need_near(self) != 0) {
        return NULL;
    }
    const char *text = (const char *)(uintptr_t)self->address;
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "surrogateescape");
}

static PyObject *
pointer_repr(PyObject *object)
{
    Pointer *self = (Pointer *)object;
    return PyUnicode_FromFormat("<%U %p>", self->type_name, (void *)(uintptr_t)self->address);
}

static PyObject *
pointer_compare(PyObject *one, PyObject *other, int operation)
{
    if ((operation != Py_EQ && operation != Py_NE) || !Py_IS_TYPE(other, PointerType)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    bool equal = ((Pointer *)one)->address == ((Pointer *)other)->address &&
                 ((Pointer *)one)->link == ((Pointer *)other)->link;
    return PyBool_FromLong(equal == (operation == Py_EQ));
}

static Py_hash_t
pointer_hash(PyObject *object)
{
    return (Py_hash_t)(((Pointer *)object)->address >> 4);
}

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Pointer, weakrefs), READONLY, NULL},
    {"address", T_ULONGLONG, offsetof(Pointer, address), READONLY, "The address as a number."},
    {"type", T_OBJECT, offsetof(Pointer, type_name), READONLY, "Its type as C writes it."},
    {"link", T_OBJECT, offsetof(Pointer, link), READONLY, "Of the worker in whose memory it points, or None."},
    {NULL},
};

static PyGetSetDef getters[] = {
    {"contents", pointer_contents, NULL, "What it points to, as a ctypes object that shares its memory.", NULL},
    {NULL},
};

static PyMethodDef methods[] = {
    {"string", pointer_string, METH_NOARGS, "Return the NUL-terminated text that a `char *` points to."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "An address that a native function returned; it keeps its version loaded."},
    {Py_tp_traverse, pointer_traverse},
    {Py_tp_dealloc, pointer_dealloc},
    {Py_tp_repr, pointer_repr},
    {Py_tp_richcompare, pointer_compare},
    {Py_tp_hash, pointer_hash},
    {Py_tp_members, members},
    {Py_tp_getset, getters},
    {Py_tp_methods, methods},
    {Py_mp_subscript, pointer_item},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "midflight._core.Pointer",
    .basicsize = sizeof(Pointer),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

static int
make_words(void)
{
    PyObject *ctypes = PyImport_ImportModule("_ctypes");
    sizeof_ctype = ctypes != NULL ? PyObject_GetAttrString(ctypes, "sizeof") : NULL;
    word_from_address = PyUnicode_InternFromString("from_address");
    word_value = PyUnicode_InternFromString("value");
    word_pointer = PyUnicode_InternFromString("_midflight_pointer");
    Py_XDECREF(ctypes);
    return sizeof_ctype != NULL && word_from_address != NULL && word_value != NULL && word_pointer != NULL ? 0 : -1;
}

int
pointer_ready(PyObject *module)
{
    if (make_words() != 0) {
        return -1;
    }
    PointerType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return PointerType != NULL ? PyModule_AddType(module, PointerType) : -1;
}
