/* Recorder: plain copies of some calls' arguments and results.
 *
 * Guarantees, all under the GIL:
 * - What is kept are values that can't change and mean the same in another process: numbers, text, bytes, and tuples
 *   (class, bytes, format) for buffers and for structs.  A call with anything else is only counted.
 * - Of a function at most KEPT calls are kept, with at most BYTES of arguments and as much of results each: a uniform choice
 *   from all that were offered (algorithm R, Vitter 1985).
 */
#include "observer.h"

enum { KEPT = 32, BYTES = 64 << 10 };

Share
share_of(double share, bool first)
{
    Share made = {.any = share > 0};
    made.limit = share < 1 ? (uint64_t)(share * 0x1p64) : UINT64_MAX;
    made.sequence = first ? -UINT64_C(0x9e3779b97f4a7c15) : 0;
    return made;
}

/* ---- plain values ------------------------------------------------------------------------------------------------------ */

/* How large an immutable value is, besides what all objects take; -1: it isn't one, or text that isn't UTF-8. */
static Py_ssize_t
size_of_plain(PyObject *value)
{
    Py_ssize_t size = 0;
    if (PyUnicode_Check(value)) {
        return PyUnicode_AsUTF8AndSize(value, &size) != NULL ? size : -1;
    }
    if (PyBytes_Check(value)) {
        return PyBytes_GET_SIZE(value);
    }
    return PyLong_Check(value) || PyFloat_Check(value) || value == Py_None ? 0 : -1;
}

/* An immutable value as it is; NULL: it isn't one, or too large for what is left of `room`. */
static PyObject *
plain(PyObject *value, Py_ssize_t *room)
{
    Py_ssize_t size = size_of_plain(value);
    PyErr_Clear();
    *room -= size;
    return size >= 0 && *room >= 0 ? Py_NewRef(value) : NULL;
}

/* What stands for a number is kept as the number that it is now. */
static PyObject *
plain_number(PyObject *value, Py_ssize_t *room)
{
    PyObject *found = plain(value, room);
    if (found == NULL) {
        found = PyIndex_Check(value) ? PyNumber_Index(value) : PyNumber_Float(value);
        PyErr_Clear();
    }
    return found;
}

/* (class, bytes, format) of what has a buffer; `kept`: where to leave the buffer itself, if it can be written to. */
static PyObject *
plain_buffer(PyObject *value, Py_ssize_t *room, Py_buffer *kept)
{
    Py_buffer view;
    if (!PyObject_CheckBuffer(value) || block_check(value) ||
        PyObject_GetBuffer(value, &view, PyBUF_FORMAT | PyBUF_ND) != 0) {
        PyErr_Clear();
        return NULL;
    }
    *room -= view.len;
    PyObject *copy = *room >= 0 ? Py_BuildValue("(Oy#z)", Py_TYPE(value), view.buf, view.len, view.format) : NULL;
    PyErr_Clear();
    if (copy != NULL && kept != NULL && !view.readonly) {
        *kept = view;
    } else {
        PyBuffer_Release(&view);
    }
    return copy;
}

static PyObject *
plain_argument(const Param *param, PyObject *value, Py_ssize_t *room, Py_buffer *kept)
{
    if (value == NULL || param == NULL) {
        return value != NULL ? plain(value, room) : NULL;
    }
    switch ((Kind)param->kind) {
    case KIND_POINTER:
        if (value == Py_None || PyUnicode_Check(value) || PyBytes_Check(value)) {
            return plain(value, room);
        }
        return plain_buffer(value, room, param->constant ? NULL : kept);
    case KIND_STRUCT: return plain_buffer(value, room, NULL);
    case KIND_CALLBACK: return value == Py_None ? Py_NewRef(value) : NULL;
    default: return plain_number(value, room);
    }
}

static PyObject *
plain_result(PyObject *result)
{
    Py_ssize_t room = BYTES;
    PyObject *found = plain(result, &room);
    return found != NULL || Py_IS_TYPE(result, PointerType) ? found : plain_buffer(result, &room, NULL);
}

/* ---- a call ------------------------------------------------------------------------------------------------------------ */

/* Where the next sample goes: KEPT or more if it isn't to be kept. */
static Py_ssize_t
next_place(const Samples *self)
{
    Py_ssize_t size = self->list != NULL ? PyList_GET_SIZE(self->list) : 0;
    if (size < KEPT) {
        return size;
    }
    /* splitmix64 of the count: the same calls are kept each time. */
    uint64_t bits = (self->offered + 1) * UINT64_C(0x9e3779b97f4a7c15);
    bits = (bits ^ bits >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    bits = (bits ^ bits >> 27) * UINT64_C(0x94d049bb133111eb);
    return (Py_ssize_t)((bits ^ bits >> 31) % (self->offered + 1));
}

static void
let_go(Keeping *self)
{
    for (Py_ssize_t i = 0; self->views != NULL && i < PyTuple_GET_SIZE(self->arguments); i++) {
        if (self->views[i].obj != NULL) {
            PyBuffer_Release(&self->views[i]);
        }
    }
    PyMem_Free(self->views);
    self->views = NULL;
    Py_CLEAR(self->arguments);
}

void
keep_arguments(Keeping *self, Samples *samples, const Binding *binding, PyObject *const *args, Py_ssize_t count)
{
    self->place = next_place(samples);
    if (self->place >= KEPT || (count != binding->param_count && !binding->raw)) {
        samples->offered += self->place >= KEPT;
        return;
    }
    Py_ssize_t room = BYTES, placed = 0;
    self->arguments = PyTuple_New(count);
    self->views = PyMem_Calloc((size_t)count + 1, sizeof *self->views);
    while (self->arguments != NULL && self->views != NULL && placed < count) {
        PyObject *copy = plain_argument(binding->raw ? NULL : &binding->params[placed], args[placed], &room,
                                        &self->views[placed]);
        if (copy == NULL) {
            break;
        }
        PyTuple_SET_ITEM(self->arguments, placed++, copy);
    }
    if (self->arguments != NULL && (self->views == NULL || placed != count)) {
        samples->left_out++;
        let_go(self);
    }
    PyErr_Clear();
}

/* What the function has left in its arguments, None where it can't have written; or NULL. */
static PyObject *
written_by(const Keeping *self)
{
    Py_ssize_t count = PyTuple_GET_SIZE(self->arguments);
    PyObject *written = PyTuple_New(count);
    for (Py_ssize_t i = 0; written != NULL && i < count; i++) {
        const Py_buffer *view = &self->views[i];
        PyObject *item = view->obj != NULL ? PyBytes_FromStringAndSize(view->buf, view->len) : Py_NewRef(Py_None);
        if (item != NULL) {
            PyTuple_SET_ITEM(written, i, item);
        } else {
            Py_CLEAR(written);
        }
    }
    return written;
}

static void
put(Samples *self, Py_ssize_t place, PyObject *sample)
{
    if (self->list == NULL) {
        self->list = PyList_New(0);
    }
    if (self->list != NULL && place < PyList_GET_SIZE(self->list)) {
        PyList_SetItem(self->list, place, Py_NewRef(sample));
    } else if (self->list != NULL && PyList_GET_SIZE(self->list) < KEPT) {
        PyList_Append(self->list, sample);
    }
    self->offered++;
}

void
keep_result(Keeping *self, Samples *samples, PyObject *result, PyObject *error)
{
    if (self->arguments == NULL) {
        return;
    }
    PyObject *kept = result != NULL ? plain_result(result) : error != NULL ? Py_NewRef(Py_None) : NULL;
    PyObject *written = kept != NULL ? written_by(self) : NULL;
    PyObject *sample = written != NULL ? PyTuple_Pack(4, self->arguments, kept, error != NULL ? error : Py_None, written) : NULL;
    if (sample != NULL) {
        put(samples, self->place, sample);
    } else {
        samples->left_out += result != NULL;
    }
    PyErr_Clear();
    Py_XDECREF(sample);
    Py_XDECREF(written);
    Py_XDECREF(kept);
    let_go(self);
}
