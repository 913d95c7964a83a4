/* Worker: where the functions of a version run that runs in another process; and the call that goes there.
 *
 * Guarantees:
 * - A call is counted in its version like any other, from before its arguments are converted until its result is.
 * - The GIL is given up for the whole way; buffers stay exported meanwhile.
 * - A call that didn't come back is never repeated by itself, unless the worker hadn't begun it.
 * - What the worker says (offsets, lengths, numbers of callbacks) is checked before it is used.
 */
#include "core.h"

#include <structmember.h>

#include "../link.h"
#include "link.h"

PyTypeObject *WorkerType;

enum { ATTEMPTS = 3, SMALL_TEXT = 256 };

/* A function of the host's that the worker may call. */
typedef struct CallbackRecord {
    uintptr_t address; /* takes its arguments as C does (made by ctypes) */
    uint32_t count;
    mf_callback_param params[MF_CALLBACK_PARAMS];
} CallbackRecord;

/* ---- callbacks ----------------------------------------------------------------------------------------------------- */

/* Leaves only pointers into the ride's arena, to as much as the function will read there. */
static void
check_pointer(const mf_ride *ride, uint64_t *word, mf_callback_param param)
{
    uint64_t base = (uint64_t)(uintptr_t)mf_link_channel(ride->link), at = *word - base;
    if (*word == 0) {
        return;
    }
    bool fits = mf_ride_covers(ride, at, param.kind == MF_PARAM_TEXT ? 1 : param.size);
    if (fits && param.kind == MF_PARAM_TEXT) {
        fits = memchr((const char *)(uintptr_t)*word, '\0', ride->arena + ride->size - at) != NULL;
    } else if (!fits && param.kind != MF_PARAM_TEXT) {
        /* What the caller has shared, and keeps while the call runs. */
        fits = mf_shared_find((const void *)(uintptr_t)*word, param.size) != NULL;
    }
    if (!fits) {
        *word = 0;
    }
}

static void
check_pointers(const mf_ride *ride, const CallbackRecord *record, uint64_t *integers, uint64_t *stack)
{
    size_t next_integer = 0, next_double = 0, next_word = 0;
    for (uint32_t i = 0; i < record->count; i++) {
        mf_callback_param param = record->params[i];
        bool floating = param.kind == MF_PARAM_DOUBLE;
        size_t *next = floating ? &next_double : &next_integer;
        bool on_stack = *next == (floating ? MF_DOUBLE_REGISTERS : MF_INTEGER_REGISTERS);
        uint64_t *word = on_stack ? &stack[next_word] : &integers[next_integer];
        next_word += on_stack;
        *next += !on_stack;
        if (param.kind >= MF_PARAM_TEXT) {
            check_pointer(ride, word, param);
        }
    }
}

/* Called without the GIL, which the function takes by itself. */
void
worker_callback(void *data, mf_ride *ride)
{
    const Worker *self = data;
    mf_slot_call *call = &ride->slot->call;
    uint64_t number = ride->slot->number, stack[MF_STACK_WORDS];
    mf_results results = {{0}, {0}};
    const CallbackRecord *record = number < MF_CALLBACKS ? &self->callbacks[number] : NULL;
    if (record != NULL && record->address != 0) {
        mf_registers registers;
        memcpy(registers.integers, call->integers, sizeof registers.integers);
        memcpy(registers.doubles, call->doubles, sizeof registers.doubles);
        memcpy(stack, call->stack, sizeof stack);
        check_pointers(ride, record, registers.integers, stack);
        registers.stack = stack;
        registers.stack_count = call->stack_count <= MF_STACK_WORDS ? call->stack_count : MF_STACK_WORDS;
        registers.exception = NULL;
        mf_call_results(&registers, record->address, &results);
    }
    memcpy(call->result_integers, results.integers, sizeof results.integers);
    memcpy(call->result_doubles, results.doubles, sizeof results.doubles);
}

static PyObject *
worker_set_callback(PyObject *object, PyObject *arguments)
{
    Worker *self = (Worker *)object;
    unsigned int number;
    unsigned long long address;
    Py_buffer params;
    if (!PyArg_ParseTuple(arguments, "IKy*", &number, &address, &params)) {
        return NULL;
    }
    size_t count = (size_t)params.len / sizeof(mf_callback_param);
    bool fits = number < MF_CALLBACKS && count <= MF_CALLBACK_PARAMS;
    if (fits) {
        CallbackRecord *record = &self->callbacks[number];
        memcpy(record->params, params.buf, count * sizeof(mf_callback_param));
        record->count = (uint32_t)count;
        record->address = (uintptr_t)address;
    }
    PyBuffer_Release(&params);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "no such callback");
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- arguments ------------------------------------------------------------------------------------------------------ */

static int
convert_argument(const Param *param, PyObject *value, PyObject *name, mf_registers *registers, uint64_t *stack,
                 Views *views)
{
    switch (param->kind) {
    case KIND_STRUCT: return convert_struct(param, value, name, registers, stack);
    case KIND_POINTER:
    case KIND_CALLBACK: return convert_pointer(param, value, name, argument_word(param, registers, stack), views);
    default: return convert_number(param, value, name, registers, stack);
    }
}

/* ---- on the way ------------------------------------------------------------------------------------------------------ */

typedef enum Outcome { CAME_BACK, DIED, LATE, NO_ROOM, NOT_MAPPED } Outcome;

/* A call while the GIL is given up. */
typedef struct Journey {
    const Binding *binding;
    mf_link *link;
    mf_registers *registers;
    Views *views;
    uint64_t deadline;
    bool begun, thrown;
    char *struct_room;   /* in the arena: where a struct is returned in memory */
    char *struct_result; /* a copy of it; or NULL */
    char *text;          /* a copy of a text result, `text_size` bytes, NULL for a null pointer; from malloc or `small` */
    size_t text_size;
    char small[SMALL_TEXT];
    mf_results results;
    mf_exception_text exception;
} Journey;

/* Spans that overlap are one place: what is written through one is seen through the other. */
static void
widen(const Views *views, const Span *span, char **low, char **high)
{
    bool grown = true;
    *low = span->data;
    *high = span->data + span->size;
    while (grown) {
        grown = false;
        for (Py_ssize_t i = 0; i < views->span_count; i++) {
            char *from = views->spans[i].data, *to = from + views->spans[i].size;
            if (from < *high && to > *low && (from < *low || to > *high)) {
                *low = from < *low ? from : *low;
                *high = to > *high ? to : *high;
                grown = true;
            }
        }
    }
}

/* Whether an earlier span has brought this one's memory over already. */
static bool
brought_already(const Views *views, Py_ssize_t index, const char *low, const char *high, uint64_t *address)
{
    const Span *span = &views->spans[index];
    for (Py_ssize_t i = 0; i < index; i++) {
        const Span *other = &views->spans[i];
        if (span->size != 0 && other->size != 0 && other->data >= low && other->data < high) {
            *address = *other->where + (uint64_t)(span->data - other->data);
            return true;
        }
    }
    return false;
}

static Outcome
bring(Journey *self, mf_ride *ride)
{
    const Views *views = self->views;
    for (Py_ssize_t i = 0; i < views->span_count; i++) {
        const Span *span = &views->spans[i];
        mf_shared *shared = mf_shared_find(span->data, span->size);
        if (shared != NULL) {
            if (!mf_link_map(self->link, shared)) {
                return NOT_MAPPED;
            }
            continue; /* it is at the same address over there */
        }
        char *low = span->data, *high = span->data;
        if (span->size != 0) {
            widen(views, span, &low, &high);
        }
        if (brought_already(views, i, low, high, span->where)) {
            continue;
        }
        size_t size = (size_t)(high - low);
        char *room = mf_ride_room(ride, size + 1, (uintptr_t)low);
        if (room == NULL) {
            return NO_ROOM;
        }
        memcpy(room, low, size);
        room[size] = '\0'; /* CPython has one behind each text, which C functions look for in a bytearray too */
        *span->where = (uint64_t)(uintptr_t)(room + (span->data - low));
    }
    if (self->binding->result_size != 0) {
        self->struct_room = mf_ride_room(ride, self->binding->result_size, 0);
        if (self->struct_room == NULL) {
            return NO_ROOM;
        }
        if (PyUnicode_READ_CHAR(self->binding->result_target, 0) == 'M') {
            self->registers->integers[0] = (uint64_t)(uintptr_t)self->struct_room;
        }
    }
    return CAME_BACK;
}

/* Back to where it came from; and an address that the function returned of what we brought is the original's. */
static void
bring_back(Journey *self)
{
    for (Py_ssize_t i = 0; i < self->views->span_count; i++) {
        const Span *span = &self->views->spans[i];
        char *there = (char *)(uintptr_t)*span->where;
        if (span->back && there != span->data) {
            memcpy(span->data, there, span->size);
        }
    }
}

static void
take_text(Journey *self, const mf_ride *ride)
{
    uint64_t at = ride->slot->at, length = ride->slot->length;
    if (self->results.integers[0] == 0 || !mf_ride_covers(ride, at, length)) {
        return;
    }
    self->text = length <= sizeof self->small ? self->small : malloc(length);
    if (self->text != NULL) {
        memcpy(self->text, (const char *)mf_link_channel(ride->link) + at, length);
        self->text_size = length;
    }
}

static void
take_result(Journey *self, const mf_ride *ride)
{
    const mf_slot *slot = ride->slot;
    memcpy(self->results.integers, slot->call.result_integers, sizeof self->results.integers);
    memcpy(self->results.doubles, slot->call.result_doubles, sizeof self->results.doubles);
    self->thrown = slot->kind != MF_DONE;
    if (self->thrown) {
        self->exception = slot->call.thrown;
        self->exception.type_name[sizeof self->exception.type_name - 1] = '\0';
        self->exception.what[sizeof self->exception.what - 1] = '\0';
        return;
    }
    if (self->binding->result == KIND_STRING) {
        take_text(self, ride);
    }
    if (self->struct_result != NULL && PyUnicode_READ_CHAR(self->binding->result_target, 0) == 'M') {
        memcpy(self->struct_result, self->struct_room, self->binding->result_size);
    }
}

static Outcome
go(Journey *self, Worker *worker, mf_ride *ride)
{
    mf_slot *slot = ride->slot;
    mf_slot_call *call = &slot->call;
    Outcome brought = bring(self, ride);
    if (brought != CAME_BACK) {
        return brought;
    }
    slot->kind = MF_CALL;
    slot->flags = self->binding->result == KIND_STRING ? MF_TEXT_RESULT : 0;
    slot->at = ride->arena + ride->used;
    slot->length = 0;
    call->function = mf_link_channel(self->link)->image_base + self->binding->address;
    memcpy(call->integers, self->registers->integers, sizeof self->registers->integers);
    memcpy(call->doubles, self->registers->doubles, sizeof self->registers->doubles);
    call->stack_count = self->binding->stack_count;
    memcpy(call->stack, self->registers->stack, call->stack_count * sizeof *call->stack);
    mf_link_result result = mf_ride_go(ride, self->deadline, worker_callback, worker);
    self->begun = mf_ride_was_begun(ride);
    if (result != MF_LINK_DONE) {
        return result == MF_LINK_DEAD ? DIED : LATE;
    }
    take_result(self, ride);
    bring_back(self);
    return CAME_BACK;
}

static Outcome
travel(Journey *self, Worker *worker)
{
    mf_ride ride;
    if (!mf_ride_begin(&ride, self->link, 0)) {
        return DIED;
    }
    /* From here on: a call isn't to blame for the time that others took before it. */
    self->deadline = worker->timeout > 0 ? mf_now() + (uint64_t)(worker->timeout * 1e9) : 0;
    Outcome outcome = go(self, worker, &ride);
    mf_ride_end(&ride);
    return outcome;
}

/* ---- the result ------------------------------------------------------------------------------------------------------ */

/* A pointer to what was passed to the function is one to the caller's own memory. */
static PyObject *
pointer_result(const Journey *self, Table *table, PyObject *link)
{
    uint64_t value = self->results.integers[0];
    for (Py_ssize_t i = 0; i < self->views->span_count; i++) {
        const Span *span = &self->views->spans[i];
        if (value >= *span->where && value - *span->where <= span->size) {
            return result_from_integer(self->binding, table, (uint64_t)(uintptr_t)span->data + value - *span->where, NULL);
        }
    }
    bool shared = mf_shared_find((const void *)(uintptr_t)value, 1) != NULL; /* a typed block's: it is here too */
    return result_from_integer(self->binding, table, value, shared ? NULL : link);
}

static PyObject *
make_result(const Journey *self, Table *table, PyObject *link)
{
    switch (self->binding->result) {
    case KIND_STRING:
        if (self->text == NULL) {
            Py_RETURN_NONE;
        }
        return PyUnicode_DecodeUTF8(self->text, (Py_ssize_t)self->text_size, "surrogateescape");
    case KIND_STRUCT: return struct_from_results(self->binding, &self->results, self->struct_result);
    case KIND_FLOAT32:
    case KIND_FLOAT64: return result_from_double(self->binding, self->results.doubles[0]);
    case KIND_POINTER: return pointer_result(self, table, link);
    default: return result_from_integer(self->binding, table, self->results.integers[0], link);
    }
}

/* ---- the call -------------------------------------------------------------------------------------------------------- */

static PyObject *
not_carried(const Journey *self, Outcome outcome)
{
    raise_error(errors.argument_type, self->binding->name, "%s",
                outcome == NO_ROOM ? "its arguments don't fit the shared memory of a call: pass large arrays made by "
                                     "midflight.shared_array"
                                   : "the worker can't map a shared array: it has no address space or no permission");
    return NULL;
}

static PyObject *
finish(Journey *self, Frame *frame, PyObject *link)
{
    PyObject *result = NULL;
    if (frame->pending != NULL) {
        mf_registers none = {.exception = NULL};
        raise_left_behind(frame, &none, self->binding);
    } else if (self->thrown) {
        raise_native(errors.native_exception, self->binding->name, &self->exception);
    } else {
        result = make_result(self, frame->table, link);
    }
    return result;
}

/* Whoever keeps the worker says what becomes of a call that didn't come back: 0: it may be repeated; -1: it raised. */
static int
ask_keeper(const Worker *worker, const Journey *self, Outcome outcome, bool last)
{
    if (worker->keeper == NULL) {
        raise_error(errors.unloaded, self->binding->name, "this version has been unloaded");
        return -1;
    }
    PyObject *answer =
        PyObject_CallFunction(worker->keeper, "OOOO", self->views->link, self->binding->name,
                              self->begun || last ? Py_True : Py_False, outcome == LATE ? Py_True : Py_False);
    Py_XDECREF(answer);
    return answer != NULL ? 0 : -1;
}

/* One attempt.  `again`: the call hasn't begun, and a fresh worker has taken the place of the one that died.  `last`:
 * that doesn't help any more. */
static PyObject *
attempt(Frame *frame, const Binding *binding, PyObject *const *args, bool last, bool *again)
{
    Worker *worker = binding->worker;
    mf_registers registers;
    uint64_t stack[binding->stack_count + 1];
    Py_buffer held[binding->pointer_count + 1];
    Span spans[binding->param_count + 1];
    PyObject *link = Py_NewRef(worker->link), *result = NULL;
    Views views = {.view = held, .spans = spans, .link = link};
    Journey self = {.binding = binding, .registers = &registers, .views = &views};
    Outcome outcome = DIED;
    Py_ssize_t placed = 0;
    registers.stack = stack;
    memset(registers.integers, 0, sizeof registers.integers);
    memset(registers.doubles, 0, sizeof registers.doubles);
    while (placed < binding->param_count && convert_argument(&binding->params[placed], args[placed], binding->name,
                                                             &registers, stack, &views) == 0) {
        placed++;
    }
    if (placed == binding->param_count) {
        self.link = link_of(link);
        self.struct_result = binding->result_size > sizeof self.results ? PyMem_RawMalloc(binding->result_size)
                             : binding->result_size != 0               ? self.small
                                                                        : NULL;
        if (self.link != NULL) {
            Py_BEGIN_ALLOW_THREADS
            outcome = travel(&self, worker);
            if (binding->care & TIMED) {
                note_returned();
            }
            Py_END_ALLOW_THREADS
        }
        if (outcome == CAME_BACK) {
            result = finish(&self, frame, link);
        } else if (outcome == NO_ROOM || outcome == NOT_MAPPED) {
            not_carried(&self, outcome);
        } else {
            *again = ask_keeper(worker, &self, outcome, last) == 0;
        }
        if (self.struct_result != self.small) {
            PyMem_RawFree(self.struct_result);
        }
        if (self.text != self.small) {
            free(self.text);
        }
    }
    for (Py_ssize_t i = 0; i < views.count; i++) {
        PyBuffer_Release(&views.view[i]);
    }
    Py_DECREF(link);
    return result;
}

PyObject *
call_worker(Table *table, const Binding *binding, PyObject *const *args)
{
    Frame frame;
    PyObject *result;
    bool again = true;
    enter(&frame, table, binding);
    for (int left = ATTEMPTS; again; left--) {
        again = false;
        result = attempt(&frame, binding, args, left <= 1, &again);
    }
    if (result == NULL && frame.pending != NULL) {
        Py_CLEAR(frame.pending); /* the reason why it didn't come back says more */
    }
    leave(&frame);
    return result;
}

/* ---- the object ------------------------------------------------------------------------------------------------------ */

static PyObject *
worker_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"keeper", "timeout", NULL};
    PyObject *keeper;
    double timeout = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O|d", names, &keeper, &timeout)) {
        return NULL;
    }
    Worker *self = (Worker *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->link = Py_NewRef(Py_None);
    self->keeper = Py_NewRef(keeper);
    self->timeout = timeout;
    self->callbacks = PyMem_RawCalloc(MF_CALLBACKS, sizeof *self->callbacks);
    if (self->callbacks == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static int
worker_traverse(PyObject *object, visitproc visit, void *arg)
{
    Worker *self = (Worker *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->link);
    Py_VISIT(self->keeper);
    return 0;
}

/* A call may still come here: it finds no link and no keeper. */
static int
worker_clear(PyObject *object)
{
    Worker *self = (Worker *)object;
    Py_XSETREF(self->link, Py_NewRef(Py_None));
    Py_CLEAR(self->keeper);
    return 0;
}

static void
worker_dealloc(PyObject *object)
{
    Worker *self = (Worker *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_CLEAR(self->link);
    Py_CLEAR(self->keeper);
    PyMem_RawFree(self->callbacks);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMemberDef members[] = {
    {"link", T_OBJECT, offsetof(Worker, link), 0, "The process that serves now, or None."},
    {"keeper", T_OBJECT, offsetof(Worker, keeper), 0, "Asked about calls that didn't come back."},
    {"timeout", T_DOUBLE, offsetof(Worker, timeout), READONLY, "Seconds for a call; 0: no limit."},
    {NULL},
};

static PyMethodDef methods[] = {
    {"set_callback", worker_set_callback, METH_VARARGS, "Say what a number of a callback stands for."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Which process a version's functions run in."},
    {Py_tp_new, worker_new},
    {Py_tp_traverse, worker_traverse},
    {Py_tp_clear, worker_clear},
    {Py_tp_dealloc, worker_dealloc},
    {Py_tp_members, members},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "midflight._core.Worker",
    .basicsize = sizeof(Worker),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
worker_ready(PyObject *module)
{
    WorkerType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return WorkerType != NULL ? PyModule_AddType(module, WorkerType) : -1;
}
