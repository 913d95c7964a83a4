/* What the parts of the CPython extension share: its object types and its exceptions.
 *
 * Everything here is protected by the GIL.  In particular a call reads `cell->current` and counts itself in without
 * giving up the GIL in between, and a switch stores `cell->current` under the GIL: so a call is counted in the version
 * that it runs in, and no call can enter a version after the switch away from it.
 */
#ifndef MF_CORE_H
#define MF_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

#include "../call.h"

#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

/* ---- types of values ------------------------------------------------------------------------------------------- */

typedef enum Kind {
    KIND_VOID,
    KIND_INT8,
    KIND_INT16,
    KIND_INT32,
    KIND_UINT8,
    KIND_UINT16,
    KIND_UINT32,
    KIND_INT64,
    KIND_UINT64,
    KIND_BOOL,
    KIND_FLOAT32,
    KIND_FLOAT64,
    KIND_POINTER,
    KIND_CALLBACK, /* a parameter that is a pointer to a function */
    KIND_STRING,   /* a result that is a `const char *` */
    KIND_STRUCT,   /* by value: only what `slow` calls can carry it */
} Kind;

/* The kind that a contract word names ("int32", see _core.pyi); -1 with ValueError set for another word. */
int kind_from_name(PyObject *name);

typedef struct Param {
    uint8_t kind;     /* Kind */
    bool on_stack;    /* all registers of its class are taken: `index` counts stack words then */
    bool constant;    /* pointers: read-only buffers are welcome */
    char item;        /* pointers: class of what it points to, see _core.pyi */
    uint16_t index;   /* of its register; of a struct in registers: of its first integer register */
    uint16_t second;  /* of a struct in registers: of its first floating register */
    uint32_t item_size; /* pointers: bytes; 0: unknown */
    int64_t low, high; /* integers: what fits both the kind and an int64_t */
    PyObject *name, *type_name, *extra; /* owned */
    PyObject *target; /* owned; pointers: what it points to, the same text for the same type */
    PyObject *misfit; /* owned; pointers: says why a ctypes class or a buffer format isn't what it points to; or None */
} Param;

/* ---- objects --------------------------------------------------------------------------------------------------- */

/* What has to be done around a call of a function. */
enum {
    GUARDED = 1, /* a crash of it is raised, see Table.on_crash */
    TIMED = 2,   /* of a copy, for one call: note when it returned, before it waits for the GIL */
};

/* How one function of one version is called.  Immutable once made. */
typedef struct Binding {
    PyObject_HEAD
    uintptr_t address;
    Py_ssize_t param_count;
    Param *params;     /* owned */
    uint8_t result;    /* Kind */
    bool hold_gil;
    uint8_t care;      /* GUARDED, TIMED; 0 of most, so that a call asks for both at once */
    bool raw;          /* `slow` takes whatever arguments are given, also by keyword */
    bool returns_int;  /* `int` without enumerators, the commonest result */
    bool returns_floating;
    uint16_t stack_count, pointer_count;
    uint32_t result_size;    /* a struct that is returned by value, if ctypes doesn't make the call: bytes */
    /* A call compares the number of its arguments with these, and so asks at once whether it is right, whether the
     * function can be called at all, and how.  They are param_count, or -1: */
    Py_ssize_t integer_count; /* unless all arguments are integers in registers, and no floating number comes back */
    Py_ssize_t simple_count;  /* unless all arguments are numbers in registers */
    PyObject *name;    /* "module.function" */
    PyObject *result_type, *result_extra, *result_target;
    PyObject *slow;     /* called with the arguments as they are, where registers don't serve; or NULL */
    struct Worker *worker; /* where it runs, if not in this process; owned */
    PyObject *unusable; /* why it can't be called; or NULL */
    PyObject *info;     /* has __doc__ text and signature for people */
} Binding;

/* Stable function pointers (entries.c): of a cell's function, and its place in a version. */
typedef struct Entry Entry;
typedef struct Seat Seat;

/* What notes calls, and what shares them out (observer.h, canary.c). */
typedef struct Observer Observer;
typedef struct Canary Canary;

/* All functions of one version.  `inside`, `pins` and `pointers` say what holds it. */
typedef struct Table {
    PyObject_HEAD
    Py_ssize_t inside;   /* calls under way */
    Py_ssize_t pins;
    Py_ssize_t pointers; /* Pointer objects that are alive */
    bool closed;         /* nothing may enter it again */
    bool watched;        /* on_idle or gate is set: whoever leaves has somebody to tell */
    PyObject *on_idle;   /* called when the last holder leaves; NULL: nobody is waiting */
    PyObject *on_crash;  /* given a function's name and its crash, returns what to raise; NULL: nothing is guarded */
    struct Gate *gate;   /* borrowed: what holds calls back; NULL: nothing does */
    Observer *observer;  /* owned: notes what becomes of calls; NULL: nobody wants to know */
    bool diverted;       /* a canary gives some of its calls to another table */
    Seat *seats;         /* owned: where stable pointers lead in this version, or led */
    PyObject *label;
    struct Table *previous, *next; /* all tables, for a fork's child */
    Py_ssize_t count;    /* of slots that calls see: none while something is in their way, see table_show */
    Py_ssize_t size;     /* of slots */
    Binding **bindings; /* by slot, owned; NULL: this version has no such function.  May grow: never keep the array */
} Table;

/* A module's current version.  Functions read it at each call. */
typedef struct Cell {
    PyObject_HEAD
    Table *current;   /* owned; NULL: ended, `ended` says why */
    PyObject *name;
    PyObject *ended;
    PyObject *owner;  /* kept alive as long as any function is */
    Entry *entries;
    Canary *canary;   /* owned: gives some calls to another table; NULL: nothing does */
    PyObject *weakrefs;
} Cell;

/* A call under way in this thread; they form a list, innermost first. */
typedef struct Frame {
    Table *table;
    struct Frame *outer;
    const Binding *binding; /* what is called, for people; NULL: a hook */
    PyObject *pending; /* an exception raised by a callback in this call: to be raised when it returns */
} Frame;

extern _Thread_local Frame *innermost __attribute__((tls_model("initial-exec")));

extern PyTypeObject *BindingType, *TableType, *CellType, *FunctionType, *PointerType, *CallbackType, *ImageType;
extern PyTypeObject *WorkerType, *LinkType, *SharedType, *GateType, *ForwardType, *HolderType;
extern PyTypeObject *HeapType, *ViewType, *BlockType, *ObserverType, *CanaryType;

int binding_ready(PyObject *module);
int table_ready(PyObject *module);
int cell_ready(PyObject *module);
int function_ready(PyObject *module);
int pointer_ready(PyObject *module);
int callback_ready(PyObject *module);
int image_ready(PyObject *module);
int link_ready(PyObject *module);
int worker_ready(PyObject *module);
int shared_ready(PyObject *module);
int mapping_ready(PyObject *module);
int plan_ready(PyObject *module);
int dies_ready(PyObject *module);
int trace_ready(PyObject *module);
int gate_ready(PyObject *module);
int observer_ready(PyObject *module);
int canary_ready(PyObject *module);
int entries_ready(PyObject *module);
int holder_ready(PyObject *module);
int block_ready(PyObject *module);
int crashes_ready(PyObject *module);
int heap_ready(PyObject *module);

/* ---- errors (midflight._errors) ---------------------------------------------------------------------------------- */

typedef struct Errors {
    PyObject *argument_type, *argument_range, *missing, *unsupported, *unloaded, *native_exception;
    PyObject *bad_library, *wrong_machine, *load, *constructor, *swap_inside, *base;
    PyObject *faults, *crashes, *not_called; /* tuples of classes: whose doing an exception is, see _errors.py */
} Errors;

extern Errors errors;
int errors_ready(void);

/* Raises `type(what, subject=subject)`; steals nothing. */
void raise_error(PyObject *type, PyObject *subject, const char *format, ...);

/* Raises `type(what, subject=subject, type_name=...)` for a C++ exception. */
void raise_native(PyObject *type, PyObject *subject, const mf_exception_text *text);

/* ---- between the parts ------------------------------------------------------------------------------------------- */

/* A call has left a table that is watched: tells its gate, and calls table->on_idle if nothing holds the table any more.
 * Keeps the current exception. */
void table_left(Table *table);

/* Lets calls see the table's slots, unless a gate, an observer or a canary wants them to come by: a call that sees no slot
 * finds out in call_hidden what is in its way, and all others pay nothing for any of these. */
void table_show(Table *table);

/* Whether this thread is inside a call of this version. */
bool table_entered_here(const Table *table);

/* ---- stable pointers (entries.c) ------------------------------------------------------------------------------------- */

/* Lets the cell's entries lead to what is current. */
void entries_follow(Cell *cell);

/* Lets the entries that lead to a table wait, or go on, as table->gate says. */
void entries_gate(Table *table);

/* Calls through stable pointers that are under way in a table. */
Py_ssize_t entries_inside(const Table *table);

/* Whether this thread is in one of them. */
bool entries_entered_here(const Table *table);

/* Precondition: none are under way. */
void entries_free(Table *table);

static inline bool
table_idle(const Table *table)
{
    return table->inside == 0 && table->pins == 0 && table->pointers == 0 && entries_inside(table) == 0;
}

/* Entering and leaving a version: everything that is done in between is counted as inside it. */
static inline void
enter(Frame *frame, Table *table, const Binding *binding)
{
    frame->table = table;
    frame->outer = innermost;
    frame->binding = binding;
    frame->pending = NULL;
    innermost = frame;
    table->inside++;
}

static inline void
leave(Frame *frame)
{
    innermost = frame->outer;
    frame->table->inside--;
    if (unlikely(frame->table->watched)) {
        table_left(frame->table);
    }
}

/* Leaves the current exception to the call that this thread is in; false, and nothing done, if it is in none. */
bool leave_behind(void);

/* Raises what a callback or a C++ function left behind; returns NULL. */
PyObject *raise_left_behind(Frame *frame, mf_registers *registers, const Binding *binding);

/* Notes when the call that this thread is in has returned.  Without the GIL. */
void note_returned(void);

/* Notes, for whoever observes a call, that the exception which is about to leave it is what a callback raised. */
void note_raised_by_callback(const Frame *frame);

/* ---- who is inside (callers.c) ------------------------------------------------------------------------------------- */

typedef bool frame_test(const Frame *frame, const void *what);

/* [(thread, [functions, innermost first; a hook: the version])] for the frames that pass the test. */
PyObject *callers_of(frame_test *wanted, const void *what);

/* In a fork's child: only this thread's calls exist, and no gate is closed. */
void table_after_fork(void);

/* ---- crashes (crashes.c) --------------------------------------------------------------------------------------------- */

struct mf_crash;

/* Leaves a call that has crashed, and then raises what table->on_crash says.  Returns NULL. */
PyObject *leave_crashed(Frame *frame, const Binding *binding, const struct mf_crash *crash);

/* A new tuple, see _core.pyi; None for a note of no crash. */
PyObject *crash_describe(const struct mf_crash *crash);

/* ---- the gate (gate.c) --------------------------------------------------------------------------------------------- */

/* Waits until this thread may enter a table that has a gate, which may be gone then: read cell->current again.  Returns 1
 * at once where it may enter already, 0 after having waited, -1 with an exception set. */
int gate_pass(Table *table);

/* The same for a call that comes through a stable pointer, and can't raise. */
typedef enum GateAnswer { GATE_PASS, GATE_OPENED, GATE_OWN } GateAnswer;

GateAnswer gate_hold(Table *table);

/* Somebody has left a table of this gate. */
void gate_left(struct Gate *gate);

/* In a fork's child: nobody would ever open it. */
void gate_forget(struct Gate *gate);

/* ---- the canary (canary.c) ----------------------------------------------------------------------------------------- */

/* The table in which a call of this slot is to run; its arguments may have NULLs among them. */
Table *canary_choose(Canary *canary, Table *current, Py_ssize_t slot, PyObject *const *args, Py_ssize_t count);

/* `link`: of the worker in whose memory it points; NULL: in this process's. */
PyObject *pointer_new(Table *table, uintptr_t address, PyObject *type_name, PyObject *target, PyObject *ctype,
                      PyObject *link);

/* What a pointer knows. */
typedef struct Pointed {
    uint64_t address;
    PyObject *type_name, *target, *ctype, *link; /* as for pointer_new */
} Pointed;

Pointed pointer_parts(PyObject *pointer); /* borrowed */
Table *pointer_table(PyObject *pointer);  /* the version that has returned it; borrowed */

/* As pointer_address, for `object`, whatever it is, that knows this. */
int pointed_address(const Pointed *pointed, PyObject *object, const Param *param, PyObject *function, uint64_t *address,
                    const PyObject *link);

/* Whether an object is a Holder; and as pointer_address for one. */
bool holder_check(PyObject *object);
int holder_address(PyObject *holder, const Param *param, PyObject *function, uint64_t *address, const PyObject *link);

/* The address behind a Pointer if it may be passed for `param` in a call through `link` (NULL: in this process), else -1
 * with an exception set. */
int pointer_address(PyObject *pointer, const Param *param, PyObject *function, uint64_t *address,
                    const PyObject *link);

/* The memory of a Heap; NULL for any other object. */
struct mf_heap *heap_memory(PyObject *heap);

/* Whether an object is a typed block; and its address and its bytes if it may be passed for `param`, else -1 with an
 * exception set. */
bool block_check(PyObject *object);
int block_address(PyObject *block, const Param *param, PyObject *function, uint64_t *address, size_t *size);

/* Raises ArgumentTypeError: `value` can't be passed for `param`; `detail` says why, "" if that says all.  Returns -1. */
int wrong_type(const Param *param, PyObject *value, PyObject *function, const char *detail);

/* Whether what `given` (a ctypes class, or the format of a buffer) describes is what `param` points to: 0, or -1 with an
 * exception set. */
int check_target(const Param *param, PyObject *given, PyObject *value, PyObject *function);

/* "_type_": what ctypes keeps a class's items or its code in. */
extern PyObject *type_attribute;

/* A ctypes class of numbers, as c_int is. */
bool is_simple_ctype(PyObject *type);

/* Memory that an argument points to, for a call into another process. */
typedef struct Span {
    uint64_t *where; /* the argument's register or word on the stack */
    char *data;
    size_t size;
    bool back;       /* the callee may write to it */
} Span;

/* Buffers that are held during one call: `view` has room for one for each pointer parameter.  For a call into another
 * process, so has `spans`. */
typedef struct Views {
    Py_ssize_t count;
    Py_buffer *view;
    Py_ssize_t span_count;
    Span *spans;    /* NULL: the call stays in this process */
    PyObject *link; /* borrowed */
} Views;

/* Where a converted argument goes. */
static inline uint64_t *
argument_word(const Param *param, mf_registers *registers, uint64_t *stack)
{
    return param->on_stack ? &stack[param->index] : &registers->integers[param->index];
}

/* Converts one argument; 0, or -1 with an exception set. */
int convert_number(const Param *param, PyObject *value, PyObject *function, mf_registers *registers,
                   uint64_t *stack);
int convert_pointer(const Param *param, PyObject *value, PyObject *function, uint64_t *address, Views *views);
int convert_ready(void);
int convert_struct(const Param *param, PyObject *value, PyObject *function, mf_registers *registers, uint64_t *stack);

/* Makes the struct that a function returned: in registers, or in `memory`. */
PyObject *struct_from_results(const Binding *binding, const mf_results *results, const char *memory);

/* Converts a result; `link` as for pointer_new. */
PyObject *result_from_integer(const Binding *binding, Table *table, uint64_t value, PyObject *link);
PyObject *result_from_double(const Binding *binding, double value);

/* ---- calls into workers (worker.c) ------------------------------------------------------------------------------- */

/* Which process a version's functions run in; another one may take the place of one that has died. */
typedef struct Worker {
    PyObject_HEAD
    PyObject *link;   /* Link or None */
    PyObject *keeper; /* called with (link, function, begun, late) when a call didn't come back: returns if it may be repeated */
    double timeout;   /* seconds for a call; 0: no limit */
    struct CallbackRecord *callbacks; /* by number */
} Worker;

PyObject *call_worker(Table *table, const Binding *binding, PyObject *const *args);

#endif
