/* Image: native/image.h for Python.  The GIL is released while a library is opened or closed, because both run its
 * code. */
#include "core.h"

#include <structmember.h>

#include "../crash_note.h"
#include "../elf_file.h"
#include "../image.h"

PyTypeObject *ImageType;

typedef struct Image {
    PyObject_HEAD
    mf_image *image; /* owned; NULL once unmapped */
    mf_image_facts facts;
    PyObject *path;
    PyObject *crash; /* of its destructors; NULL: there was none */
} Image;

static PyObject *
error_for(const mf_failure *failure)
{
    switch (failure->kind) {
    case MF_BAD_LIBRARY: return errors.bad_library;
    case MF_WRONG_MACHINE: return errors.wrong_machine;
    case MF_CONSTRUCTOR_CRASHED:
    case MF_CONSTRUCTOR: return errors.constructor;
    case MF_LOAD_FAILED: return errors.load;
    case MF_OK:
    case MF_SYSTEM: break;
    }
    return errors.base;
}

/* Tells the error that is being raised which crash it was, and where the library is. */
static void
add_crash(const mf_image_crash *crash)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    PyObject *place = Py_BuildValue("(KKK)", (unsigned long long)crash->base, (unsigned long long)crash->low,
                                    (unsigned long long)crash->high);
    PyObject *told = place != NULL ? crash_describe(&crash->crash) : NULL;
    PyObject *both = told != NULL ? PyTuple_Pack(2, told, place) : NULL;
    if (both == NULL || PyObject_SetAttrString(error, "crash", both) != 0) {
        PyErr_Clear();
    }
    Py_XDECREF(both);
    Py_XDECREF(told);
    Py_XDECREF(place);
    PyErr_Restore(type, error, traceback);
}

static PyObject *
raise_failure(const mf_failure *failure, const mf_exception_text *thrown, const mf_image_crash *crash, const char *name)
{
    PyObject *subject = PyUnicode_FromString(name);
    if (subject == NULL) {
        return NULL;
    }
    if (failure->kind == MF_CONSTRUCTOR) {
        raise_native(errors.constructor, subject, thrown);
    } else {
        raise_error(error_for(failure), subject, "%s", failure->text);
        if (failure->kind == MF_CONSTRUCTOR_CRASHED) {
            add_crash(crash);
        }
    }
    Py_DECREF(subject);
    return NULL;
}

/* A converter for PyArg_Parse: a path as bytes, or NULL for None. */
static int
path_or_none(PyObject *object, void *result)
{
    if (object == Py_None) {
        *(PyObject **)result = NULL;
        return 1;
    }
    return PyUnicode_FSConverter(object, result);
}

/* Where the first image of this process that is mapped is noted; NULL: nowhere. */
static uint64_t *noted;

static void
note_place(const mf_image_facts *facts)
{
    if (noted[0] == 0) {
        noted[0] = facts->base;
        noted[1] = facts->low;
        noted[2] = facts->high;
    }
}

/* The view is never given back. */
static PyObject *
note_image(PyObject *Py_UNUSED(module), PyObject *object)
{
    static Py_buffer view;
    if (view.obj != NULL || PyObject_GetBuffer(object, &view, PyBUF_WRITABLE) != 0) {
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_RuntimeError, "it is noted already");
    }
    if ((size_t)view.len < 3 * sizeof *noted || (uintptr_t)view.buf % _Alignof(uint64_t) != 0) {
        PyBuffer_Release(&view);
        return PyErr_Format(PyExc_ValueError, "a note of an image needs more room");
    }
    noted = view.buf;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"note_image", note_image, METH_O, "Note where the first image that is mapped lies."},
    {NULL, NULL, 0, NULL},
};

enum { MOST_BINDINGS = 4096 };

/* Makes wrappers of {symbol: address}; the dictionary keeps the texts.  NULL with an exception set. */
static mf_wrapper *
wrappers_of(PyObject *bindings)
{
    Py_ssize_t position = 0, count = 0;
    PyObject *symbol, *address;
    if (PyDict_GET_SIZE(bindings) > MOST_BINDINGS) {
        return (mf_wrapper *)PyErr_Format(PyExc_ValueError, "at most %d symbols can be bound", MOST_BINDINGS);
    }
    mf_wrapper *made = PyMem_Calloc((size_t)PyDict_GET_SIZE(bindings) + 1, sizeof *made);
    if (made == NULL) {
        return (mf_wrapper *)PyErr_NoMemory();
    }
    while (PyDict_Next(bindings, &position, &symbol, &address)) {
        made[count].symbol = PyBytes_Check(symbol) ? PyBytes_AS_STRING(symbol) : NULL;
        made[count].address = PyLong_AsUnsignedLongLong(address);
        if (made[count].symbol == NULL || PyErr_Occurred()) {
            if (!PyErr_Occurred()) {
                PyErr_SetString(PyExc_TypeError, "a symbol's name is bytes");
            }
            PyMem_Free(made);
            return NULL;
        }
        count++;
    }
    return made;
}

static PyObject *
image_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"data", "name", "path", "lazy", "bindings", "guarded", "sealed", "line", NULL};
    Py_buffer data;
    const char *name;
    PyObject *path = NULL;
    int lazy = 0, guarded = 0, sealed = 0;
    unsigned long long line = 0;
    mf_image_crash crash;
    PyObject *bindings = NULL;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "y*s|O&pO!ppK", names, &data, &name, path_or_none, &path, &lazy,
                                     &PyDict_Type, &bindings, &guarded, &sealed, &line)) {
        return NULL;
    }
    mf_wrapper *wrappers = bindings != NULL ? wrappers_of(bindings) : NULL;
    if (bindings != NULL && wrappers == NULL) {
        PyBuffer_Release(&data);
        Py_XDECREF(path);
        return NULL;
    }
    mf_image_options options = {
        path != NULL ? PyBytes_AS_STRING(path) : NULL, name, lazy != 0, NULL,
        noted != NULL ? note_place : NULL, wrappers, guarded != 0 ? &crash : NULL, sealed != 0,
        line};
    mf_failure failure;
    mf_exception_text thrown = {{0}, {0}};
    mf_image *image;
    Py_BEGIN_ALLOW_THREADS
    image = mf_image_open(&options, data.buf, (size_t)data.len, &failure, &thrown);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&data);
    Py_XDECREF(path);
    PyMem_Free(wrappers);
    if (image == NULL) {
        return raise_failure(&failure, &thrown, &crash, name);
    }
    Image *self = (Image *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL; /* the image stays mapped: there is no memory to say more */
    }
    self->image = image;
    mf_image_get_facts(image, &self->facts);
    self->path = PyUnicode_DecodeFSDefault(mf_image_path(image));
    if (self->path == NULL) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void
image_dealloc(PyObject *object)
{
    Image *self = (Image *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->image != NULL) {
        mf_image_free(self->image); /* what nobody closed stays mapped */
    }
    Py_CLEAR(self->path);
    Py_CLEAR(self->crash);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *
image_symbol(PyObject *object, PyObject *name)
{
    Image *self = (Image *)object;
    const char *text = PyUnicode_AsUTF8(name);
    if (text == NULL) {
        return NULL;
    }
    return PyLong_FromUnsignedLongLong(self->image != NULL ? mf_image_symbol(self->image, text) : 0);
}

/* Takes and gives packed numbers: there may be many. */
static PyObject *
image_changed(PyObject *object, PyObject *places)
{
    Image *self = (Image *)object;
    Py_buffer given;
    if (PyObject_GetBuffer(places, &given, PyBUF_SIMPLE) != 0) {
        return NULL;
    }
    const uint64_t *numbers = given.buf;
    Py_ssize_t count = given.len / (Py_ssize_t)(2 * sizeof *numbers);
    PyObject *flags = PyBytes_FromStringAndSize(NULL, count);
    if (flags != NULL && self->image != NULL) {
        char *flag = PyBytes_AS_STRING(flags);
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < count; i++) {
            flag[i] = mf_image_changed(self->image, numbers[2 * i], numbers[2 * i + 1]);
        }
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&given);
    return flags;
}

static PyObject *
image_attached(PyObject *object, PyObject *addresses)
{
    Image *self = (Image *)object;
    Py_buffer given;
    if (PyObject_GetBuffer(addresses, &given, PyBUF_SIMPLE) != 0) {
        return NULL;
    }
    const uint64_t *words = given.buf;
    Py_ssize_t count = given.len / (Py_ssize_t)sizeof *words;
    PyObject *states = PyBytes_FromStringAndSize(NULL, count);
    if (states != NULL && self->image != NULL) {
        char *state = PyBytes_AS_STRING(states);
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < count; i++) {
            state[i] = (char)mf_image_attached(self->image, words[i]);
        }
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&given);
    return states;
}

static PyObject *
image_held_by(PyObject *object, void *Py_UNUSED(closure))
{
    Image *self = (Image *)object;
    char text[MF_IMAGE_TEXT];
    if (self->image == NULL || !mf_image_is_held(self->image, text, sizeof text)) {
        Py_RETURN_NONE;
    }
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "backslashreplace");
}

static PyObject *
image_threads(PyObject *object, void *Py_UNUSED(closure))
{
    Image *self = (Image *)object;
    char text[MF_IMAGE_TEXT] = "";
    if (self->image != NULL) {
        mf_image_threads(self->image, text, sizeof text);
    }
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "backslashreplace");
}

static PyObject *
image_close(PyObject *object, PyObject *Py_UNUSED(unused))
{
    Image *self = (Image *)object;
    mf_image *image = self->image;
    bool gone = true;
    if (image != NULL) {
        Py_BEGIN_ALLOW_THREADS
        gone = mf_image_close(image);
        Py_END_ALLOW_THREADS
    }
    if (self->image != NULL && self->crash == NULL && mf_image_crash_at_close(image)->signal != 0) {
        self->crash = crash_describe(mf_image_crash_at_close(image));
    }
    if (gone && self->image != NULL) {
        mf_image_free(image);
        self->image = NULL;
    }
    return PyBool_FromLong(gone);
}

static PyMemberDef members[] = {
    {"base", T_ULONGLONG, offsetof(Image, facts.base), READONLY, "What to add to a link-time address."},
    {"low", T_ULONGLONG, offsetof(Image, facts.low), READONLY, "Its first address."},
    {"high", T_ULONGLONG, offsetof(Image, facts.high), READONLY, "The first address after it."},
    {"uniques_rewritten", T_PYSSIZET, offsetof(Image, facts.uniques_rewritten), READONLY, "STB_GNU_UNIQUE symbols."},
    {"nodelete", T_BOOL, offsetof(Image, facts.nodelete), READONLY, "Whether the loader will never unmap it."},
    {"exit_handlers", T_BOOL, offsetof(Image, facts.exit_handlers), READONLY,
     "Whether it calls on_exit, so that it is never closed."},
    {"thread_destructors", T_BOOL, offsetof(Image, facts.thread_destructors), READONLY,
     "Whether it uses thread_local variables with destructors."},
    {"crash", T_OBJECT, offsetof(Image, crash), READONLY, "The crash of its destructors, or None."},
    {"path", T_OBJECT, offsetof(Image, path), READONLY, "The name under which the loader knows it."},
    {NULL},
};

static PyGetSetDef getters[] = {
    {"threads", image_threads, NULL, "Which threads the library has started that are alive.", NULL},
    {"held_by", image_held_by, NULL, "What the library left behind that points into it, or None.", NULL},
    {NULL},
};

static PyMethodDef methods[] = {
    {"symbol", image_symbol, METH_O, "Return an exported symbol's address, 0 if there is none in this image."},
    {"changed", image_changed, METH_O, "Say for each (link-time address, size) whether it is another than at first."},
    {"attached", image_attached, METH_O, "Say for each address whether malloc's memory there is as it was at first."},
    {"close", image_close, METH_NOARGS, "Close it, or try again; return whether the memory map shows it gone."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "One version's code in memory: a private copy of its bytes."},
    {Py_tp_new, image_new},
    {Py_tp_dealloc, image_dealloc},
    {Py_tp_members, members},
    {Py_tp_getset, getters},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "midflight._core.Image",
    .basicsize = sizeof(Image),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
image_ready(PyObject *module)
{
    ImageType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    if (ImageType == NULL || PyModule_AddType(module, ImageType) != 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, functions);
}
