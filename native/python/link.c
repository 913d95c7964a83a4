/* Link and Shared: a worker process and shared memory for Python; see native/link.h and native/shared.h.
 *
 * Guarantee: the GIL is given up for whatever may wait.  Deallocating a Link ends its process by force.
 */
#include "link.h"

#include <structmember.h>

PyTypeObject *LinkType, *SharedType;

static PyObject *dead_error, *late_error;

typedef struct Link {
    PyObject_HEAD
    mf_link *link; /* owned */
} Link;

mf_link *
link_of(PyObject *object)
{
    return Py_IS_TYPE(object, LinkType) ? ((Link *)object)->link : NULL;
}

static uint64_t
deadline_of(double timeout)
{
    return timeout > 0 ? mf_now() + (uint64_t)(timeout * 1e9) : 0;
}

/* ---- start ---------------------------------------------------------------------------------------------------------- */

char **
texts(PyObject *tuple)
{
    Py_ssize_t count = PyTuple_GET_SIZE(tuple);
    char **list = PyMem_Calloc((size_t)count + 1, sizeof *list);
    if (list == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        list[i] = PyBytes_AsString(PyTuple_GET_ITEM(tuple, i));
        if (list[i] == NULL) {
            PyMem_Free(list);
            return NULL;
        }
    }
    return list;
}

static mf_link *
start(mf_link_options *options, PyObject *arguments, PyObject *environment)
{
    char **words = texts(arguments), **settings = words != NULL ? texts(environment) : NULL;
    mf_link *link = NULL;
    if (settings != NULL) {
        mf_failure failure;
        options->arguments = words;
        options->environment = settings;
        Py_BEGIN_ALLOW_THREADS
        link = mf_link_start(options, &failure);
        Py_END_ALLOW_THREADS
        if (link == NULL) {
            raise_error(errors.base, NULL, "%s", failure.text);
        }
    }
    PyMem_Free(words);
    PyMem_Free(settings);
    return link;
}

static PyObject *
link_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"program", "arguments", "environment", "library", "slots", "callback_slots", "arena", NULL};
    mf_link_options options = {.library = -1, .call_slots = 1, .callback_slots = 0};
    PyObject *words, *environment;
    unsigned long long arena = UINT64_C(4) << 30;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "iO!O!|iIIK", names, &options.program, &PyTuple_Type, &words,
                                     &PyTuple_Type, &environment, &options.library, &options.call_slots,
                                     &options.callback_slots, &arena)) {
        return NULL;
    }
    if (options.call_slots < 1 || options.call_slots > 1024 || options.callback_slots > 1 || arena < 4096 ||
        arena > (UINT64_C(1) << 36)) {
        PyErr_SetString(PyExc_ValueError, "too many or too few slots, or too large an arena");
        return NULL;
    }
    options.arena_size = arena / 4096 * 4096;
    Link *self = (Link *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->link = start(&options, words, environment);
        if (self->link == NULL) {
            Py_CLEAR(self);
        }
    }
    return (PyObject *)self;
}

static void
link_dealloc(PyObject *object)
{
    Link *self = (Link *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->link != NULL) {
        Py_BEGIN_ALLOW_THREADS
        mf_link_drop(self->link);
        Py_END_ALLOW_THREADS
    }
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *
link_ready_(PyObject *object, PyObject *timeout)
{
    Link *self = (Link *)object;
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    mf_failure failure;
    Py_BEGIN_ALLOW_THREADS
    mf_link_ready(self->link, deadline_of(seconds), &failure);
    Py_END_ALLOW_THREADS
    const mf_channel *channel = mf_link_channel(self->link);
    if (failure.kind == MF_OK) {
        Py_RETURN_NONE;
    }
    PyObject *type = failure.kind == MF_BAD_LIBRARY ? errors.bad_library
                     : failure.kind == MF_SYSTEM    ? errors.base
                                                    : errors.load;
    if (failure.kind == MF_CONSTRUCTOR) {
        mf_exception_text thrown;
        memcpy(thrown.type_name, channel->thrown_type, sizeof thrown.type_name);
        memcpy(thrown.what, channel->thrown_what, sizeof thrown.what);
        thrown.type_name[sizeof thrown.type_name - 1] = thrown.what[sizeof thrown.what - 1] = '\0';
        PyObject *subject = PyUnicode_FromString("");
        if (subject != NULL) {
            raise_native(errors.constructor, subject, &thrown);
            Py_DECREF(subject);
        }
        return NULL;
    }
    raise_error(type, NULL, "%s", failure.text);
    return NULL;
}

/* ---- messages -------------------------------------------------------------------------------------------------------- */

/* Callbacks of a message: Python's own. */
static void
message_callback(void *data, mf_ride *ride)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    mf_slot *slot = ride->slot;
    mf_channel *channel = mf_link_channel(ride->link);
    uint64_t at = slot->at, length = slot->length;
    PyObject *answer = NULL;
    if (!mf_ride_covers(ride, at, length)) {
        length = 0;
        at = ride->arena;
    }
    answer = PyObject_CallFunction(data, "Ky#", (unsigned long long)slot->number, (const char *)channel + at,
                                   (Py_ssize_t)length);
    slot->length = 0;
    if (answer != NULL && PyBytes_Check(answer)) {
        char *room = mf_ride_room(ride, (size_t)PyBytes_GET_SIZE(answer), 0);
        if (room != NULL) {
            memcpy(room, PyBytes_AS_STRING(answer), (size_t)PyBytes_GET_SIZE(answer));
            slot->at = (uint64_t)(room - (char *)channel);
            slot->length = (uint64_t)PyBytes_GET_SIZE(answer);
        }
    }
    if (answer == NULL) {
        PyErr_WriteUnraisable(data);
    }
    Py_XDECREF(answer);
    PyGILState_Release(gil);
}

typedef struct Message {
    mf_ride ride;
    uint32_t kind;
    uint64_t number, wanted; /* wanted: length of an answer that is asked for without a payload */
    Py_buffer payload;
    PyObject *callback;
    double timeout;
} Message;

typedef enum Sent { ANSWERED, SENT_DEAD, SENT_LATE, SENT_TOO_LARGE } Sent;

static Sent
send_message(Message *self, mf_link *link)
{
    if (!mf_ride_begin(&self->ride, link, 0)) {
        return SENT_DEAD;
    }
    /* From here on: a request isn't to blame for the time that others took before it. */
    uint64_t deadline = deadline_of(self->timeout);
    mf_slot *slot = self->ride.slot;
    char *room = mf_ride_room(&self->ride, (size_t)self->payload.len, 0);
    if (room == NULL) {
        return SENT_TOO_LARGE;
    }
    memcpy(room, self->payload.buf, (size_t)self->payload.len);
    slot->kind = self->kind;
    slot->flags = 0;
    slot->number = self->number;
    slot->at = (uint64_t)(room - (char *)mf_link_channel(link));
    slot->length = self->wanted != 0 ? self->wanted : (uint64_t)self->payload.len;
    mf_link_result result =
        mf_ride_go(&self->ride, deadline, self->callback != NULL ? message_callback : NULL, self->callback);
    return result == MF_LINK_DONE ? ANSWERED : result == MF_LINK_LATE ? SENT_LATE : SENT_DEAD;
}

static PyObject *
answer_of(const Message *self, mf_link *link)
{
    const mf_slot *slot = self->ride.slot;
    uint64_t at = slot->at, length = slot->length;
    uint32_t kind = slot->kind;
    if (kind != MF_DONE) {
        raise_error(errors.base, NULL, "the worker refused a request (%u)", self->kind);
        return NULL;
    }
    if (!mf_ride_covers(&self->ride, at, length)) {
        raise_error(errors.base, NULL, "the worker gave an answer that lies outside of the shared memory");
        return NULL;
    }
    return PyBytes_FromStringAndSize((const char *)mf_link_channel(link) + at, (Py_ssize_t)length);
}

static PyObject *
send_result(Message *self, mf_link *link, Sent sent)
{
    switch (sent) {
    case ANSWERED: return answer_of(self, link);
    case SENT_TOO_LARGE:
        raise_error(errors.argument_type, NULL, "%zd bytes are more than the shared memory of a call can take",
                    self->payload.len);
        return NULL;
    case SENT_LATE: PyErr_SetNone(late_error); return NULL;
    case SENT_DEAD: break;
    }
    PyErr_SetObject(dead_error, self->ride.slot != NULL && mf_ride_was_begun(&self->ride) ? Py_True : Py_False);
    return NULL;
}

static PyObject *
link_send(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"kind", "number", "payload", "timeout", "callback", "wanted", NULL};
    Link *self = (Link *)object;
    Message message = {.callback = NULL};
    unsigned long long number, wanted = 0;
    PyObject *callback = Py_None;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "IKy*|dOK", names, &message.kind, &number, &message.payload,
                                     &message.timeout, &callback, &wanted)) {
        return NULL;
    }
    message.number = number;
    message.wanted = wanted;
    message.callback = callback != Py_None ? callback : NULL;
    Sent sent;
    Py_BEGIN_ALLOW_THREADS
    sent = send_message(&message, self->link);
    Py_END_ALLOW_THREADS
    PyObject *result = send_result(&message, self->link, sent);
    if (message.ride.slot != NULL) {
        mf_ride_end(&message.ride);
    }
    PyBuffer_Release(&message.payload);
    return result;
}

static PyObject *
link_serve(PyObject *object, PyObject *worker)
{
    Link *self = (Link *)object;
    bool served;
    if (!Py_IS_TYPE(worker, WorkerType)) {
        PyErr_SetString(PyExc_TypeError, "serve takes a Worker");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    served = mf_link_serve(self->link, 0, worker_callback, worker);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(served);
}

/* ---- the end ---------------------------------------------------------------------------------------------------------- */

static PyObject *
link_end(PyObject *object, PyObject *grace)
{
    Link *self = (Link *)object;
    double seconds = PyFloat_AsDouble(grace);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    mf_link_end(self->link, (int)(seconds * 1000));
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *
link_kill(PyObject *object, PyObject *Py_UNUSED(unused))
{
    mf_link_kill(((Link *)object)->link);
    Py_RETURN_NONE;
}

static PyObject *
link_set_yield(PyObject *object, PyObject *wanted)
{
    int flag = PyObject_IsTrue(wanted);
    if (flag < 0) {
        return NULL;
    }
    atomic_store(&mf_link_channel(((Link *)object)->link)->should_yield, (uint32_t)flag);
    Py_RETURN_NONE;
}

static PyObject *
link_gone(PyObject *object, PyObject *arguments)
{
    Link *self = (Link *)object;
    double seconds = 0;
    if (!PyArg_ParseTuple(arguments, "|d", &seconds)) {
        return NULL;
    }
    bool gone;
    Py_BEGIN_ALLOW_THREADS
    gone = mf_link_gone(self->link, seconds < 0 ? -1 : (int)(seconds * 1000));
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(gone);
}

static PyObject *
link_cancel(PyObject *object, PyObject *arguments)
{
    unsigned int slot;
    unsigned long long serial;
    if (!PyArg_ParseTuple(arguments, "IK", &slot, &serial)) {
        return NULL;
    }
    mf_link_cancel(((Link *)object)->link, slot, serial);
    Py_RETURN_NONE;
}

static PyObject *
link_crash(PyObject *object, void *Py_UNUSED(closure))
{
    return crash_describe(&mf_link_channel(((Link *)object)->link)->crash);
}

static PyObject *
link_image(PyObject *object, void *Py_UNUSED(closure))
{
    const mf_channel *channel = mf_link_channel(((Link *)object)->link);
    return Py_BuildValue("(KKK)", (unsigned long long)channel->image_base, (unsigned long long)channel->image_low,
                         (unsigned long long)channel->image_high);
}

static PyObject *
link_thunks(PyObject *object, void *Py_UNUSED(closure))
{
    const mf_channel *channel = mf_link_channel(((Link *)object)->link);
    return Py_BuildValue("(KK)", (unsigned long long)channel->thunks, (unsigned long long)channel->thunk_size);
}

static PyObject *
link_number(PyObject *object, void *which)
{
    mf_link *link = ((Link *)object)->link;
    switch ((intptr_t)which) {
    case 0: return PyLong_FromLong(mf_link_pid(link));
    case 1: return PyLong_FromLong(mf_link_status(link));
    case 2: return PyLong_FromLong(mf_link_pidfd(link));
    case 3: return PyLong_FromLong(mf_link_crash_text(link));
    default: return PyBool_FromLong(mf_link_is_foreign(link));
    }
}

static PyGetSetDef link_getters[] = {
    {"pid", link_number, NULL, "The process's number, for people.", (void *)0},
    {"status", link_number, NULL, "As from waitpid once it is gone; -1: unknown.", (void *)1},
    {"pidfd", link_number, NULL, "A descriptor that becomes readable when it is gone.", (void *)2},
    {"crash_text", link_number, NULL, "A descriptor: what a runtime wrote about its crash.", (void *)3},
    {"foreign", link_number, NULL, "Whether it is the worker of a process that this one was forked from.", (void *)4},
    {"crash", link_crash, NULL, "(signal, code, address, [frames]) of a crash, or None.", NULL},
    {"image", link_image, NULL, "(base, low, high) of the library in the worker.", NULL},
    {"thunks", link_thunks, NULL, "(address, size): its functions for callbacks, by number.", NULL},
    {NULL},
};

static PyMethodDef link_methods[] = {
    {"ready", link_ready_, METH_O, "Wait until the worker is ready; raise what went wrong."},
    {"send", (PyCFunction)(void (*)(void))link_send, METH_VARARGS | METH_KEYWORDS, "Send a request; return the answer."},
    {"serve", link_serve, METH_O, "Run one callback of a thread of the library's own; False: the worker is gone."},
    {"end", link_end, METH_O, "Ask it to end; by force after this many seconds."},
    {"kill", link_kill, METH_NOARGS, "End it by force."},
    {"set_yield", link_set_yield, METH_O, "Say to calls under way whether they should return."},
    {"gone", link_gone, METH_VARARGS, "Whether it has ended; waits so many seconds, for ever if negative."},
    {"cancel", link_cancel, METH_VARARGS, "Say that a call isn't wanted any more."},
    {NULL},
};

static PyType_Slot link_slots[] = {
    {Py_tp_doc, "One worker process, from its start to its end."},
    {Py_tp_new, link_new},
    {Py_tp_dealloc, link_dealloc},
    {Py_tp_getset, link_getters},
    {Py_tp_methods, link_methods},
    {0, NULL},
};

static PyType_Spec link_spec = {
    .name = "midflight._core.Link",
    .basicsize = sizeof(Link),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = link_slots,
};

int
link_ready(PyObject *module)
{
    dead_error = PyErr_NewException("midflight._core.LinkDeadError", NULL, NULL);
    late_error = PyErr_NewException("midflight._core.LinkLateError", NULL, NULL);
    LinkType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &link_spec, NULL);
    if (LinkType == NULL || dead_error == NULL || late_error == NULL || PyModule_AddType(module, LinkType) != 0 ||
        PyModule_AddObjectRef(module, "LinkDeadError", dead_error) != 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "LinkLateError", late_error);
}

/* ---- shared memory ----------------------------------------------------------------------------------------------------- */

typedef struct Shared {
    PyObject_HEAD
    mf_shared *block; /* owned */
    Py_ssize_t size;
} Shared;

static PyObject *
shared_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"size", NULL};
    Py_ssize_t size;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "n", names, &size)) {
        return NULL;
    }
    if (size < 0) {
        PyErr_SetString(PyExc_ValueError, "a size is not negative");
        return NULL;
    }
    Shared *self = (Shared *)type->tp_alloc(type, 0);
    mf_failure failure;
    if (self != NULL) {
        self->size = size;
        self->block = mf_shared_new((size_t)size, &failure);
        if (self->block == NULL) {
            PyErr_SetString(PyExc_MemoryError, failure.text);
            Py_CLEAR(self);
        }
    }
    return (PyObject *)self;
}

static void
shared_dealloc(PyObject *object)
{
    Shared *self = (Shared *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->block != NULL) {
        mf_link_forget(self->block);
        mf_shared_free(self->block);
    }
    type->tp_free(object);
    Py_DECREF(type);
}

static int
shared_buffer(PyObject *object, Py_buffer *view, int flags)
{
    Shared *self = (Shared *)object;
    return PyBuffer_FillInfo(view, object, self->block->memory, self->size, 0, flags);
}

static PyType_Slot shared_slots[] = {
    {Py_tp_doc, "Memory that worker processes see at the same address; offers a buffer."},
    {Py_tp_new, shared_new},
    {Py_tp_dealloc, shared_dealloc},
    {Py_bf_getbuffer, shared_buffer},
    {0, NULL},
};

static PyType_Spec shared_spec = {
    .name = "midflight._core.Shared",
    .basicsize = sizeof(Shared),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = shared_slots,
};

int
shared_ready(PyObject *module)
{
    SharedType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &shared_spec, NULL);
    return SharedType != NULL ? PyModule_AddType(module, SharedType) : -1;
}
