/* Holder: an address that a native function returned, and that follows what it points to.
 *
 * Guarantees, all under the GIL:
 * - It doesn't keep a version loaded: whoever moves a module's data tells it where its object has gone, or that there is
 *   none any more.
 * - A call that is given one reads it when the call is counted in its version: between that and the call nothing moves.
 */
#include "core.h"

#include <structmember.h>

PyTypeObject *HolderType;

typedef struct Holder {
    PyObject_HEAD
    /* Its objects are owned.  ctype: None, since layouts change with versions.  link: of the worker that made the object,
     * also where its memory is shared: with that process the library has lost it. */
    Pointed pointed;
    PyObject *lost;  /* why there is no object any more; or NULL */
    PyObject *weakrefs;
} Holder;

bool
holder_check(PyObject *object)
{
    return Py_IS_TYPE(object, HolderType);
}

int
holder_address(PyObject *object, const Param *param, PyObject *function, uint64_t *address, const PyObject *link)
{
    const Holder *self = (Holder *)object;
    if (self->lost != NULL) {
        raise_error(errors.unloaded, function, "parameter %R got an object that is gone: %U", param->name, self->lost);
        return -1;
    }
    return pointed_address(&self->pointed, object, param, function, address, link);
}

static PyObject *
holder_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"pointer", "link", NULL};
    PyObject *pointer, *link;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O!O", names, PointerType, &pointer, &link)) {
        return NULL;
    }
    Holder *self = (Holder *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->pointed = pointer_parts(pointer);
        self->pointed.ctype = Py_None;
        self->pointed.link = link != Py_None ? link : NULL;
        Py_INCREF(self->pointed.type_name);
        Py_INCREF(self->pointed.target);
        Py_INCREF(Py_None);
        Py_XINCREF(self->pointed.link);
    }
    return (PyObject *)self;
}

static int
holder_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((Holder *)object)->pointed.link);
    return 0;
}

static void
holder_dealloc(PyObject *object)
{
    Holder *self = (Holder *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    Py_CLEAR(self->pointed.type_name);
    Py_CLEAR(self->pointed.target);
    Py_CLEAR(self->pointed.ctype);
    Py_CLEAR(self->pointed.link);
    Py_CLEAR(self->lost);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *
holder_moved(PyObject *object, PyObject *arguments)
{
    Holder *self = (Holder *)object;
    unsigned long long address;
    PyObject *link;
    if (!PyArg_ParseTuple(arguments, "KO", &address, &link)) {
        return NULL;
    }
    self->pointed.address = address;
    Py_XSETREF(self->pointed.link, link != Py_None ? Py_NewRef(link) : NULL);
    Py_RETURN_NONE;
}

static PyObject *
holder_lose(PyObject *object, PyObject *why)
{
    Holder *self = (Holder *)object;
    if (!PyUnicode_Check(why)) {
        PyErr_SetString(PyExc_TypeError, "the reason must be a str");
        return NULL;
    }
    if (self->lost == NULL) {
        self->lost = Py_NewRef(why);
    }
    Py_RETURN_NONE;
}

static Holder *
copy_of(const Holder *self)
{
    Holder *copy = (Holder *)HolderType->tp_alloc(HolderType, 0);
    if (copy != NULL) {
        copy->pointed = self->pointed;
        Py_INCREF(copy->pointed.type_name);
        Py_INCREF(copy->pointed.target);
        Py_INCREF(copy->pointed.ctype);
        Py_XINCREF(copy->pointed.link);
    }
    return copy;
}

static PyObject *
holder_take(PyObject *object, PyObject *why)
{
    Holder *self = (Holder *)object;
    if (self->lost != NULL) {
        Py_RETURN_NONE;
    }
    Holder *copy = copy_of(self);
    PyObject *done = copy != NULL ? holder_lose(object, why) : NULL;
    if (done == NULL) {
        Py_CLEAR(copy);
    }
    Py_XDECREF(done);
    return (PyObject *)copy;
}

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Holder, weakrefs), READONLY, NULL},
    {"address", T_ULONGLONG, offsetof(Holder, pointed.address), READONLY, "Where the object is."},
    {"link", T_OBJECT, offsetof(Holder, pointed.link), READONLY, "Of the worker in whose memory it is, or None."},
    {"lost", T_OBJECT, offsetof(Holder, lost), READONLY, "Why there is no object any more, or None."},
    {NULL},
};

static PyMethodDef methods[] = {
    {"moved", holder_moved, METH_VARARGS, "Follow the object to an address, in the memory of a worker or None."},
    {"lose", holder_lose, METH_O, "Note why there is no object any more."},
    {"take", holder_take, METH_O, "Do the same, and return another Holder of it; None if there was none any more."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "An address that follows what it points to from version to version."},
    {Py_tp_new, holder_new},
    {Py_tp_traverse, holder_traverse},
    {Py_tp_dealloc, holder_dealloc},
    {Py_tp_members, members},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "midflight._core.Holder",
    .basicsize = sizeof(Holder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
holder_ready(PyObject *module)
{
    HolderType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return HolderType != NULL ? PyModule_AddType(module, HolderType) : -1;
}
