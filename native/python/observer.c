/* Observer: see observer.h. */
#include "observer.h"

#include <structmember.h>

#include "../channel.h"
#include "../histogram.h"

PyTypeObject *ObserverType;

/* Of one slot. */
typedef struct Figures {
    uint64_t errors, crashes; /* of the calls that the histogram has */
    mf_histogram took;
    Samples samples;
} Figures;

struct Observer {
    PyObject_HEAD
    Py_ssize_t size;
    Figures **figures;        /* by slot, owned; NULL: not called yet */
    Observation *under_way;   /* the one that has begun last */
    unsigned long epoch;      /* in which that was noted: see observers_after_fork */
    Share share;              /* of calls that are kept whole */
    PyObject *kept_slots;     /* a frozenset: functions of which calls can be kept; owned */
    PyObject *on_crash;       /* called after a call that crashed; owned, or NULL */
};

/* ---- figures --------------------------------------------------------------------------------------------------------- */

static bool
grow(Observer *self, Py_ssize_t slot)
{
    Py_ssize_t size = slot + 1 + slot / 2;
    Figures **figures = PyMem_Realloc(self->figures, (size_t)size * sizeof *figures);
    if (figures == NULL) {
        return false;
    }
    memset(figures + self->size, 0, (size_t)(size - self->size) * sizeof *figures);
    self->figures = figures;
    self->size = size;
    return true;
}

static bool
keeps(const Observer *self, Py_ssize_t slot)
{
    PyObject *number = PyLong_FromSsize_t(slot);
    int found = number != NULL ? PySet_Contains(self->kept_slots, number) : 0;
    Py_XDECREF(number);
    PyErr_Clear();
    return found == 1;
}

/* NULL: no memory.  A call isn't to fail because it is observed. */
static Figures *
figures_of(Observer *self, Py_ssize_t slot)
{
    if (slot >= self->size && !grow(self, slot)) {
        return NULL;
    }
    if (self->figures[slot] == NULL) {
        Figures *made = PyMem_Calloc(1, sizeof *made);
        if (made != NULL && self->share.any) {
            made->samples.share = self->share;
            made->samples.closed = !keeps(self, slot);
        }
        self->figures[slot] = made;
    }
    return self->figures[slot];
}

/* ---- what a call notes itself ---------------------------------------------------------------------------------------------- */

static _Thread_local Observation *innermost_seen;

void
note_returned(void)
{
    innermost_seen->returned = mf_now();
}

void
note_raised_by_callback(const Frame *frame)
{
    /* The call of this frame, and not one that isn't observed inside of one that is. */
    if (innermost_seen != NULL && innermost_seen->outer == frame->outer) {
        innermost_seen->by_callback = true;
    }
}

/* ---- calls ----------------------------------------------------------------------------------------------------------- */

/* Copying arguments may run Python code: the call is inside its version meanwhile, and goes on from there without a gap. */
static void
keep(Observation *seen, Table *table, Samples *samples, PyObject *const *args, Py_ssize_t count)
{
    Frame frame;
    enter(&frame, table, seen->binding);
    keep_arguments(&seen->keeping, samples, seen->binding, args, count);
    Py_CLEAR(frame.pending);
    innermost = frame.outer;
    table->inside--;
}

static unsigned long epoch; /* how many forks this process comes from */

/* Calls that a fork has left behind lie in memory that may be another thread's stack by now. */
static void
forget_left_behind(Observer *self)
{
    if (self->epoch != epoch) {
        self->epoch = epoch;
        self->under_way = NULL;
    }
}

static void
enlist(Observation *seen)
{
    Observer *self = seen->observer;
    forget_left_behind(self);
    seen->previous = NULL;
    seen->next = self->under_way;
    if (self->under_way != NULL) {
        self->under_way->previous = seen;
    }
    self->under_way = seen;
}

static void
delist(Observation *seen)
{
    if (seen->previous != NULL) {
        seen->previous->next = seen->next;
    } else {
        seen->observer->under_way = seen->next;
    }
    if (seen->next != NULL) {
        seen->next->previous = seen->previous;
    }
}

static void
enlist_all(Observation *seen)
{
    if (seen != NULL) {
        enlist_all(seen->around);
        enlist(seen);
    }
}

void
observers_after_fork(void)
{
    epoch++;
    enlist_all(innermost_seen);
}

void
observe_begin(Observation *seen, Table *table, Py_ssize_t slot, const Binding *binding, PyObject *const *args,
              Py_ssize_t count, bool named)
{
    Observer *self = table->observer;
    *seen = (Observation){.observer = (Observer *)Py_NewRef(self), .slot = slot, .binding = binding,
                          .thread = PyThread_get_thread_ident(), .outer = innermost, .around = innermost_seen};
    Figures *figures = figures_of(self, slot);
    if (figures != NULL && share_takes(&figures->samples.share)) {
        if (named || figures->samples.closed) {
            figures->samples.left_out++;
        } else {
            keep(seen, table, &figures->samples, args, count);
        }
    }
    enlist(seen);
    innermost_seen = seen;
    seen->begun = mf_now();
}

typedef enum Outcome { FINE, NOT_CALLED, NOT_TO_BLAME, FAILED, CRASHED } Outcome;

static Outcome
outcome_of(const Observation *seen, PyObject *type)
{
    return seen->by_callback                                      ? NOT_TO_BLAME
           : PyErr_GivenExceptionMatches(type, errors.crashes)    ? CRASHED
           : PyErr_GivenExceptionMatches(type, errors.faults)     ? FAILED
           : PyErr_GivenExceptionMatches(type, errors.not_called) ? NOT_CALLED
                                                                  : NOT_TO_BLAME;
}

static void
count_in(Figures *figures, Outcome outcome, uint64_t took)
{
    if (outcome == NOT_CALLED) {
        return;
    }
    mf_histogram_add(&figures->took, took);
    figures->errors += outcome == FAILED || outcome == CRASHED;
    figures->crashes += outcome == CRASHED;
}

static void
tell_crash(Observer *self)
{
    PyObject *call = self->on_crash != Py_None ? Py_XNewRef(self->on_crash) : NULL;
    PyObject *answer = call != NULL ? PyObject_CallNoArgs(call) : NULL;
    if (call != NULL && answer == NULL) {
        PyErr_WriteUnraisable(call);
    }
    Py_XDECREF(answer);
    Py_XDECREF(call);
}

void
observe_end(Observation *seen, PyObject *result)
{
    uint64_t took = (seen->returned != 0 ? seen->returned : mf_now()) - seen->begun;
    Observer *self = seen->observer;
    Figures *figures = figures_of(self, seen->slot);
    PyObject *type = NULL, *value = NULL, *traceback = NULL, *error = NULL;
    Outcome outcome = FINE;
    innermost_seen = seen->around;
    delist(seen);
    if (result == NULL) {
        PyErr_Fetch(&type, &value, &traceback);
        outcome = outcome_of(seen, type);
        error = outcome == FAILED || outcome == CRASHED ? PyUnicode_FromString(((PyTypeObject *)type)->tp_name) : NULL;
    }
    if (figures != NULL) {
        count_in(figures, outcome, took);
        keep_result(&seen->keeping, &figures->samples, result, error);
    }
    if (outcome == CRASHED) {
        tell_crash(self);
    }
    Py_XDECREF(error);
    Py_DECREF(self);
    if (result == NULL) {
        PyErr_Restore(type, value, traceback);
    }
}

/* ---- reading --------------------------------------------------------------------------------------------------------- */

static PyObject *
buckets_of(const mf_histogram *histogram)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < MF_HISTOGRAM_BUCKETS; i++) {
        if (histogram->at[i] != 0) {
            PyObject *bucket =
                Py_BuildValue("(KKK)", (unsigned long long)mf_histogram_lowest(i),
                              (unsigned long long)mf_histogram_highest(i), (unsigned long long)histogram->at[i]);
            if (bucket == NULL || PyList_Append(list, bucket) != 0) {
                Py_CLEAR(list);
            }
            Py_XDECREF(bucket);
        }
    }
    return list;
}

static PyObject *
figures_as_tuple(const Figures *figures)
{
    return Py_BuildValue("(KKKKKKN)", (unsigned long long)figures->took.count, (unsigned long long)figures->errors,
                         (unsigned long long)figures->crashes, (unsigned long long)figures->samples.left_out,
                         (unsigned long long)figures->took.total, (unsigned long long)figures->took.longest,
                         buckets_of(&figures->took));
}

/* {slot: what `read` makes of its figures}. */
static PyObject *
by_slot(const Observer *self, PyObject *(*read)(const Figures *))
{
    PyObject *found = PyDict_New();
    for (Py_ssize_t slot = 0; found != NULL && slot < self->size; slot++) {
        PyObject *value = self->figures[slot] != NULL ? read(self->figures[slot]) : NULL;
        PyObject *key = value != NULL ? PyLong_FromSsize_t(slot) : NULL;
        if ((key != NULL && PyDict_SetItem(found, key, value) != 0) || PyErr_Occurred()) {
            Py_CLEAR(found);
        }
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return found;
}

static PyObject *
observer_figures(PyObject *object, PyObject *Py_UNUSED(unused))
{
    return by_slot((Observer *)object, figures_as_tuple);
}

static PyObject *
copy_of_samples(const Figures *figures)
{
    PyObject *list = figures->samples.list;
    return list != NULL ? PyList_GetSlice(list, 0, PyList_GET_SIZE(list)) : PyList_New(0);
}

static PyObject *
observer_samples(PyObject *object, PyObject *Py_UNUSED(unused))
{
    return by_slot((Observer *)object, copy_of_samples);
}

/* Noted first: making the list may run Python code, and calls end meanwhile. */
static PyObject *
observer_under_way(PyObject *object, PyObject *Py_UNUSED(unused))
{
    Observer *self = (Observer *)object;
    Py_ssize_t count = 0, i = 0;
    forget_left_behind(self);
    for (const Observation *seen = self->under_way; seen != NULL; seen = seen->next) {
        count++;
    }
    struct {
        Py_ssize_t slot;
        unsigned long thread;
        uint64_t begun;
    } *noted = PyMem_Malloc(((size_t)count + 1) * sizeof *noted);
    if (noted == NULL) {
        return PyErr_NoMemory();
    }
    for (const Observation *seen = self->under_way; seen != NULL; seen = seen->next, i++) {
        noted[i].slot = seen->slot;
        noted[i].thread = seen->thread;
        noted[i].begun = seen->begun;
    }
    uint64_t now = mf_now();
    PyObject *list = PyList_New(count);
    for (i = 0; list != NULL && i < count; i++) {
        PyObject *item = Py_BuildValue("(nkd)", noted[i].slot, noted[i].thread, (double)(now - noted[i].begun) / 1e9);
        if (item != NULL) {
            PyList_SET_ITEM(list, i, item);
        } else {
            Py_CLEAR(list);
        }
    }
    PyMem_Free(noted);
    return list;
}

/* ---- the object ------------------------------------------------------------------------------------------------------ */

static PyObject *
observer_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"share", "kept", NULL};
    double share = 0;
    PyObject *kept = NULL;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|dO", names, &share, &kept)) {
        return NULL;
    }
    PyObject *slots = PyFrozenSet_New(kept);
    Observer *self = slots != NULL ? (Observer *)type->tp_alloc(type, 0) : NULL;
    if (self == NULL) {
        Py_XDECREF(slots);
        return NULL;
    }
    self->kept_slots = slots;
    self->epoch = epoch;
    self->share = share_of(share, true);
    return (PyObject *)self;
}

static int
observer_traverse(PyObject *object, visitproc visit, void *arg)
{
    Observer *self = (Observer *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->on_crash);
    for (Py_ssize_t i = 0; i < self->size; i++) {
        if (self->figures[i] != NULL) {
            Py_VISIT(self->figures[i]->samples.list);
        }
    }
    return 0;
}

static int
observer_clear(PyObject *object)
{
    Observer *self = (Observer *)object;
    Py_CLEAR(self->on_crash);
    for (Py_ssize_t i = 0; i < self->size; i++) {
        if (self->figures[i] != NULL) {
            Py_CLEAR(self->figures[i]->samples.list);
        }
    }
    return 0;
}

static void
observer_dealloc(PyObject *object)
{
    Observer *self = (Observer *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    observer_clear(object);
    Py_CLEAR(self->kept_slots);
    for (Py_ssize_t i = 0; i < self->size; i++) {
        PyMem_Free(self->figures[i]);
    }
    PyMem_Free(self->figures);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMemberDef members[] = {
    {"on_crash", T_OBJECT, offsetof(Observer, on_crash), 0, "Called after a call that has crashed, in its thread; or None."},
    {NULL},
};

static PyMethodDef methods[] = {
    {"figures", observer_figures, METH_NOARGS, "What has been counted, by slot."},
    {"samples", observer_samples, METH_NOARGS, "The calls that are kept, by slot."},
    {"under_way", observer_under_way, METH_NOARGS, "Calls that haven't ended, the last one first: (slot, thread, seconds)."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Counts and times the calls of a table, and keeps some."},
    {Py_tp_new, observer_new},
    {Py_tp_traverse, observer_traverse},
    {Py_tp_clear, observer_clear},
    {Py_tp_dealloc, observer_dealloc},
    {Py_tp_members, members},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "midflight._core.Observer",
    .basicsize = sizeof(Observer),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
observer_ready(PyObject *module)
{
    ObserverType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return ObserverType != NULL ? PyModule_AddType(module, ObserverType) : -1;
}
