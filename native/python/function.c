/* Function: one name of a module, for the module's whole life.  Its call path is what midflight exists for.
 *
 * Guarantees:
 * - The vectorcall slot is constant (CPython reads it with a plain copy); what changes is cell->current.
 * - A call reads cell->current once and is counted in that version before anything else can run (converting an argument
 *   may run Python code, which may swap), until it holds the GIL again: it runs wholly in one version, and that version
 *   stays loaded.
 * - Arguments stay alive and buffers stay exported for as long as the call runs.
 */
#include "observer.h"

#include <structmember.h>

#include "../guard.h"

PyTypeObject *FunctionType;

_Thread_local Frame *innermost __attribute__((tls_model("initial-exec")));

typedef struct Function {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    Cell *cell;
    Py_ssize_t slot;
    PyObject *name;
    PyObject *weakrefs;
} Function;

/* ---- leaving a call ------------------------------------------------------------------------------------------------ */

static inline bool
left_behind(const Frame *frame, const mf_registers *registers)
{
    return unlikely(frame->pending != NULL || registers->exception != NULL);
}

/* Raises what a callback or a C++ function left behind; returns NULL.  Not in line: the text would make the stack frame
 * of every call large. */
__attribute__((noinline, cold)) PyObject *
raise_left_behind(Frame *frame, mf_registers *registers, const Binding *binding)
{
    mf_exception_text text;
    bool thrown = registers->exception != NULL;
    if (thrown) {
        mf_exception_take(registers, &text);
    }
    if (frame->pending != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(frame->pending), frame->pending);
        note_raised_by_callback(frame);
        Py_CLEAR(frame->pending);
    } else {
        raise_native(errors.native_exception, binding->name, &text);
    }
    return NULL;
}

/* Leaves such a call; returns NULL. */
static __attribute__((noinline, cold)) PyObject *
leave_left_behind(Frame *frame, mf_registers *registers, const Binding *binding)
{
    const mf_crash *crash = mf_guard_take(registers->exception);
    if (crash != NULL) {
        return leave_crashed(frame, binding, crash);
    }
    raise_left_behind(frame, registers, binding);
    leave(frame);
    return NULL;
}

/* ---- the call itself ----------------------------------------------------------------------------------------------- */

/* Leaves a call whose arguments couldn't be converted. */
static __attribute__((noinline, cold)) PyObject *
give_up(Frame *frame, mf_registers *registers, const Binding *binding)
{
    registers->exception = NULL;
    if (left_behind(frame, registers)) {
        raise_left_behind(frame, registers, binding);
    }
    leave(frame);
    return NULL;
}

/* A trampoline behind the guard.  Where a thread has no memory for what that needs, its crash ends the program as ever. */
static __attribute__((noinline)) uint64_t
guarded_integer(mf_registers *registers, uintptr_t function, uint64_t (*trampoline)(mf_registers *, uintptr_t))
{
    (void)mf_guard_ready();
    return mf_guard_call(registers, (const void *)function, NULL, (const void *)(uintptr_t)trampoline,
                         &registers->exception);
}

static __attribute__((noinline)) double
guarded_double(mf_registers *registers, uintptr_t function)
{
    (void)mf_guard_ready();
    return mf_guard_call_double(registers, (const void *)function, NULL, (const void *)(uintptr_t)mf_call_double,
                                &registers->exception);
}

static void
guarded_results(mf_registers *registers, uintptr_t function, mf_results *results)
{
    (void)mf_guard_ready();
    mf_guard_call(registers, (const void *)function, results, (const void *)(uintptr_t)mf_call_results,
                  &registers->exception);
}

/* A call around which something has to be done: see `care`. */
static __attribute__((noinline, cold)) uint64_t
careful_integer(const Binding *binding, mf_registers *registers, uint64_t (*trampoline)(mf_registers *, uintptr_t))
{
    uint64_t value = binding->care & GUARDED ? guarded_integer(registers, binding->address, trampoline)
                                             : trampoline(registers, binding->address);
    if (binding->care & TIMED) {
        note_returned();
    }
    return value;
}

static __attribute__((noinline, cold)) double
careful_double(const Binding *binding, mf_registers *registers)
{
    double value = binding->care & GUARDED ? guarded_double(registers, binding->address)
                                           : mf_call_double(registers, binding->address);
    if (binding->care & TIMED) {
        note_returned();
    }
    return value;
}

/* Calls the function; others may have the GIL meanwhile, unless it is one that is called with it. */
static inline uint64_t
run_integer(const Binding *binding, mf_registers *registers, bool only_integers)
{
    PyThreadState *thread = binding->hold_gil ? NULL : PyEval_SaveThread();
    uint64_t value = unlikely(binding->care != 0)
                         ? careful_integer(binding, registers, only_integers ? mf_call_integers : mf_call_integer)
                     : only_integers ? mf_call_integers(registers, binding->address)
                                     : mf_call_integer(registers, binding->address);
    if (thread != NULL) {
        PyEval_RestoreThread(thread);
    }
    return value;
}

static inline double
run_double(const Binding *binding, mf_registers *registers)
{
    PyThreadState *thread = binding->hold_gil ? NULL : PyEval_SaveThread();
    double value = unlikely(binding->care != 0) ? careful_double(binding, registers)
                                                : mf_call_double(registers, binding->address);
    if (thread != NULL) {
        PyEval_RestoreThread(thread);
    }
    return value;
}

/* Runs the function on converted arguments, converts its result, and leaves.  `only_integers`: no argument is floating
 * or on the stack, and the result isn't floating either. */
static inline __attribute__((always_inline)) PyObject *
run(Frame *frame, const Binding *binding, mf_registers *registers, bool only_integers)
{
    PyObject *result;
    registers->exception = NULL;
    if (only_integers || likely(!binding->returns_floating)) {
        uint64_t value = run_integer(binding, registers, only_integers);
        if (left_behind(frame, registers)) {
            return leave_left_behind(frame, registers, binding);
        }
        result = likely(binding->returns_int) ? PyLong_FromLong((int32_t)value)
                                              : result_from_integer(binding, frame->table, value, NULL);
    } else {
        double value = run_double(binding, registers);
        if (left_behind(frame, registers)) {
            return leave_left_behind(frame, registers, binding);
        }
        result = result_from_double(binding, value);
    }
    leave(frame);
    return result;
}

#if PY_VERSION_HEX >= 0x030c0000
static inline bool
small_integer(PyObject *value, int64_t *out)
{
    if (!PyLong_CheckExact(value) || !PyUnstable_Long_IsCompact((PyLongObject *)value)) {
        return false;
    }
    *out = PyUnstable_Long_CompactValue((PyLongObject *)value);
    return true;
}
#else
static inline bool
small_integer(PyObject *value, int64_t *out)
{
    /* 3.11: the size's sign is the number's; a size of at most one digit is at most 30 bits. */
    Py_ssize_t size = Py_SIZE(value);
    if (!PyLong_CheckExact(value) || size < -1 || size > 1) {
        return false;
    }
    *out = (int64_t)((PyLongObject *)value)->ob_digit[0] * size;
    return true;
}
#endif

/* Converts a number into its register, the common ones here and now. */
static inline int
place_number(const Param *param, PyObject *value, PyObject *name, mf_registers *registers)
{
    int64_t integer;
    if (param->kind <= KIND_UINT64 && small_integer(value, &integer) && integer >= param->low &&
        integer <= param->high) {
        registers->integers[param->index] = (uint64_t)integer;
        return 0;
    }
    if (param->kind == KIND_FLOAT64 && PyFloat_CheckExact(value)) {
        registers->doubles[param->index] = PyFloat_AS_DOUBLE(value);
        return 0;
    }
    return convert_number(param, value, name, registers, NULL);
}

static __attribute__((noinline)) PyObject *
call_simple(Table *table, const Binding *binding, PyObject *const *args)
{
    Frame frame;
    mf_registers registers;
    registers.stack_count = 0;
    enter(&frame, table, binding);
    for (Py_ssize_t i = 0; i < binding->param_count; i++) {
        if (unlikely(place_number(&binding->params[i], args[i], binding->name, &registers) != 0)) {
            return give_up(&frame, &registers, binding);
        }
    }
    return run(&frame, binding, &registers, false);
}

static int
place_any(const Param *param, PyObject *value, PyObject *name, mf_registers *registers, uint64_t *stack, Views *views)
{
    if (param->kind == KIND_STRUCT) {
        return convert_struct(param, value, name, registers, stack);
    }
    if (param->kind != KIND_POINTER && param->kind != KIND_CALLBACK) {
        return convert_number(param, value, name, registers, stack);
    }
    return convert_pointer(param, value, name, argument_word(param, registers, stack), views);
}

/* Runs the function and leaves, as `run` does, where a struct comes back by value. */
static PyObject *
run_struct(Frame *frame, const Binding *binding, mf_registers *registers)
{
    mf_results results;
    PyObject *result = NULL;
    char *memory = PyMem_RawMalloc(binding->result_size);
    registers->exception = NULL;
    if (memory == NULL) {
        PyErr_NoMemory();
    } else {
        if (PyUnicode_READ_CHAR(binding->result_target, 0) == 'M') {
            registers->integers[0] = (uint64_t)(uintptr_t)memory;
        }
        PyThreadState *thread = binding->hold_gil ? NULL : PyEval_SaveThread();
        (binding->care & GUARDED ? guarded_results : mf_call_results)(registers, binding->address, &results);
        if (binding->care & TIMED) {
            note_returned();
        }
        if (thread != NULL) {
            PyEval_RestoreThread(thread);
        }
        if (left_behind(frame, registers)) {
            PyMem_RawFree(memory);
            return leave_left_behind(frame, registers, binding);
        }
        result = struct_from_results(binding, &results, memory);
    }
    PyMem_RawFree(memory);
    leave(frame);
    return result;
}

static __attribute__((noinline)) PyObject *
call_general(Table *table, const Binding *binding, PyObject *const *args)
{
    Frame frame;
    mf_registers registers;
    /* As much as this function needs, and no more: calls nest, through callbacks, until Python's recursion limit. */
    uint64_t stack[binding->stack_count + 1];
    Py_buffer held[binding->pointer_count + 1];
    Views views = {.view = held};
    Py_ssize_t placed = 0;
    enter(&frame, table, binding);
    registers.stack = stack;
    registers.stack_count = binding->stack_count;
    while (placed < binding->param_count &&
           place_any(&binding->params[placed], args[placed], binding->name, &registers, stack, &views) == 0) {
        placed++;
    }
    PyObject *result = placed != binding->param_count ? give_up(&frame, &registers, binding)
                       : binding->result_size != 0    ? run_struct(&frame, binding, &registers)
                                                      : run(&frame, binding, &registers, false);
    for (Py_ssize_t i = 0; i < views.count; i++) {
        PyBuffer_Release(&views.view[i]);
    }
    return result;
}

/* Where registers don't serve (very large structs by value, another program): somebody else makes the call, and it is counted like
 * any other. */
static __attribute__((noinline)) PyObject *
call_slow(Table *table, const Binding *binding, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    Frame frame;
    mf_registers registers;
    mf_guard_through guarded;
    mf_through *through = &guarded.through;
    *through = (mf_through){.function = binding->address, .outer = mf_through_innermost};
    (void)((binding->care & GUARDED) && mf_guard_ready());
    enter(&frame, table, binding);
    mf_through_innermost = through;
    PyObject *result = PyObject_Vectorcall(binding->slow, args, (size_t)count, keywords);
    mf_through_innermost = through->outer;
    registers.exception = through->exception;
    if (left_behind(&frame, &registers)) {
        Py_XDECREF(result);
        return leave_left_behind(&frame, &registers, binding);
    }
    leave(&frame);
    return result;
}

/* ---- the unusual ---------------------------------------------------------------------------------------------------- */

static PyObject *
no_table(Function *self)
{
    raise_error(errors.unloaded, self->cell->name, "%V; %U can't be called", self->cell->ended, "it has been unloaded",
                self->name);
    return NULL;
}

static PyObject *
no_binding(Function *self, Table *table)
{
    raise_error(errors.missing, self->cell->name, "version %U has no function %R", table->label, self->name);
    return NULL;
}

static PyObject *
wrong_count(const Binding *binding, Py_ssize_t given)
{
    raise_error(errors.argument_type, binding->name, "%zd argument%s expected, %zd given", binding->param_count,
                binding->param_count == 1 ? "" : "s", given);
    return NULL;
}

/* The parameter that `keyword` names, or -1. */
static Py_ssize_t
find_param(const Binding *binding, PyObject *keyword)
{
    for (Py_ssize_t i = 0; i < binding->param_count; i++) {
        PyObject *name = binding->params[i].name;
        if (name == keyword || (PyUnicode_GET_LENGTH(name) != 0 && PyUnicode_Compare(name, keyword) == 0)) {
            return i;
        }
    }
    return -1;
}

/* Puts positional and keyword arguments in the order of the parameters; 0, or -1 with an exception. */
static int
order_arguments(const Binding *binding, PyObject *const *args, Py_ssize_t count, PyObject *keywords,
                PyObject **ordered)
{
    memcpy(ordered, args, (size_t)count * sizeof *ordered);
    memset(ordered + count, 0, (size_t)(binding->param_count - count) * sizeof *ordered);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(keywords); i++) {
        PyObject *keyword = PyTuple_GET_ITEM(keywords, i);
        Py_ssize_t index = find_param(binding, keyword);
        if (index < 0) {
            raise_error(errors.argument_type, binding->name, "there is no parameter %R", keyword);
            return -1;
        }
        if (ordered[index] != NULL) {
            raise_error(errors.argument_type, binding->name, "two values for parameter %R", keyword);
            return -1;
        }
        ordered[index] = args[count + i];
    }
    return 0;
}

static PyObject *call_binding(Table *table, const Binding *binding, PyObject *const *args, Py_ssize_t count);

/* A call that somebody wants to know about.  `keywords`: only of a raw one, else NULL. */
static __attribute__((noinline, cold)) PyObject *
call_seen(Table *table, Py_ssize_t slot, const Binding *binding, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    Observation seen;
    Binding timed = *binding; /* its table keeps all that it refers to */
    timed.care |= TIMED;
    observe_begin(&seen, table, slot, binding, args, count, keywords != NULL);
    PyObject *result = keywords != NULL ? call_slow(table, &timed, args, count, keywords)
                                        : call_binding(table, &timed, args, count);
    observe_end(&seen, result);
    return result;
}

static __attribute__((noinline)) PyObject *
call_with_keywords(Table *table, Py_ssize_t slot, const Binding *binding, PyObject *const *args, Py_ssize_t count,
                   PyObject *keywords)
{
    PyObject *ordered[MF_INTEGER_REGISTERS + MF_STACK_WORDS];
    Py_ssize_t given = count + PyTuple_GET_SIZE(keywords);
    if (binding->raw) {
        return table->observer != NULL ? call_seen(table, slot, binding, args, count, keywords)
                                       : call_slow(table, binding, args, count, keywords);
    }
    if (binding->unusable == NULL && count <= binding->param_count &&
        order_arguments(binding, args, count, keywords, ordered) != 0) {
        return NULL;
    }
    return table->observer != NULL ? call_seen(table, slot, binding, ordered, given, NULL)
                                   : call_binding(table, binding, ordered, given);
}

/* Any call, whatever its arguments are. */
static __attribute__((noinline)) PyObject *
call_binding(Table *table, const Binding *binding, PyObject *const *args, Py_ssize_t count)
{
    if (likely(count == binding->simple_count)) {
        return call_simple(table, binding, args);
    }
    if (unlikely(binding->unusable != NULL)) {
        raise_error(errors.unsupported, binding->name, "%U", binding->unusable);
        return NULL;
    }
    if (unlikely(count != binding->param_count && !binding->raw)) {
        return wrong_count(binding, count);
    }
    return binding->worker != NULL ? call_worker(table, binding, args)
           : binding->slow != NULL ? call_slow(table, binding, args, count, NULL)
                                   : call_general(table, binding, args);
}

/* The commonest call: integers only, each in the register of its own number.  As long as they are plain small ints,
 * converting them runs no Python code, and the version needs to be entered only then. */
static inline PyObject *
call_integers(Table *table, const Binding *binding, PyObject *const *args, Py_ssize_t count)
{
    mf_registers registers;
    const Param *param = binding->params;
    for (Py_ssize_t i = 0; i < count; i++, param++) {
        int64_t integer;
        if (unlikely(!small_integer(args[i], &integer) || integer < param->low || integer > param->high)) {
            return call_binding(table, binding, args, count);
        }
        registers.integers[i] = (uint64_t)integer;
    }
    Frame frame;
    enter(&frame, table, binding);
    return run(&frame, binding, &registers, true);
}

/* The version has no such function, or something is in the way.  Whoever doesn't have to wait at a gate finds it all the same,
 * and whoever has waited starts over with what is current then. */
static __attribute__((noinline, cold)) PyObject *
call_hidden(Function *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    Table *table;
    Py_ssize_t named = keywords != NULL ? PyTuple_GET_SIZE(keywords) : 0;
    int passed = 0;
    while ((table = self->cell->current) != NULL && table->gate != NULL && passed == 0) {
        passed = gate_pass(table);
    }
    if (table == NULL || passed < 0) {
        return table == NULL ? no_table(self) : NULL;
    }
    if (self->cell->canary != NULL) {
        table = canary_choose(self->cell->canary, table, self->slot, args, count + named);
    }
    const Binding *binding = self->slot < table->size ? table->bindings[self->slot] : NULL;
    if (binding == NULL) {
        return no_binding(self, table);
    }
    if (named != 0) {
        return call_with_keywords(table, self->slot, binding, args, count, keywords);
    }
    return table->observer != NULL ? call_seen(table, self->slot, binding, args, count, NULL)
                                   : call_binding(table, binding, args, count);
}

static PyObject *
function_call(PyObject *object, PyObject *const *args, size_t flags, PyObject *keywords)
{
    Function *self = (Function *)object;
    Table *table = self->cell->current;
    if (unlikely(table == NULL)) {
        return no_table(self);
    }
    const Binding *binding = self->slot < table->count ? table->bindings[self->slot] : NULL;
    if (unlikely(binding == NULL)) {
        return call_hidden(self, args, PyVectorcall_NARGS(flags), keywords);
    }
    Py_ssize_t count = PyVectorcall_NARGS(flags);
    if (unlikely(keywords != NULL && PyTuple_GET_SIZE(keywords) != 0)) {
        return call_with_keywords(table, self->slot, binding, args, count, keywords);
    }
    if (likely(count == binding->integer_count)) {
        return call_integers(table, binding, args, count);
    }
    return call_binding(table, binding, args, count);
}

/* ---- the object ------------------------------------------------------------------------------------------------------ */

static PyObject *
function_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"cell", "slot", "name", NULL};
    PyObject *cell, *name;
    Py_ssize_t slot;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O!nU", names, CellType, &cell, &slot, &name)) {
        return NULL;
    }
    if (slot < 0) {
        PyErr_SetString(PyExc_ValueError, "a slot is not negative");
        return NULL;
    }
    Function *self = (Function *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->vectorcall = function_call;
        self->cell = (Cell *)Py_NewRef(cell);
        self->slot = slot;
        self->name = Py_NewRef(name);
    }
    return (PyObject *)self;
}

static int
function_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((Function *)object)->cell);
    return 0;
}

/* No tp_clear: a Function without its cell couldn't be called safely, and the cell's own clear breaks every cycle. */
static void
function_dealloc(PyObject *object)
{
    Function *self = (Function *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(object);
    }
    Py_CLEAR(self->cell);
    Py_CLEAR(self->name);
    type->tp_free(object);
    Py_DECREF(type);
}

/* As a builtin function does: stored in a class it doesn't become a method.  help() takes it for a routine by this. */
static PyObject *
function_get(PyObject *object, PyObject *Py_UNUSED(instance), PyObject *Py_UNUSED(owner))
{
    return Py_NewRef(object);
}

static Binding *
current_binding(Function *self)
{
    Table *table = self->cell->current;
    return table != NULL && self->slot < table->size ? table->bindings[self->slot] : NULL;
}

/* The attribute `name` of what describes the current version's function; None where there is none. */
static PyObject *
describe(PyObject *object, const char *name)
{
    Binding *binding = current_binding((Function *)object);
    if (binding == NULL || binding->info == Py_None) {
        Py_RETURN_NONE;
    }
    PyObject *info = Py_NewRef(binding->info);
    PyObject *value = PyObject_GetAttrString(info, name);
    Py_DECREF(info);
    return value;
}

static PyObject *
get_doc(PyObject *object, void *Py_UNUSED(closure))
{
    return describe(object, "doc");
}

static PyObject *
get_signature(PyObject *object, void *Py_UNUSED(closure))
{
    return describe(object, "signature");
}

static PyObject *
get_module(PyObject *object, void *Py_UNUSED(closure))
{
    return Py_NewRef(((Function *)object)->cell->name);
}

static PyObject *
get_available(PyObject *object, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(current_binding((Function *)object) != NULL);
}

static PyObject *
get_info(PyObject *object, void *Py_UNUSED(closure))
{
    Binding *binding = current_binding((Function *)object);
    return Py_NewRef(binding != NULL ? binding->info : Py_None);
}

static PyObject *
get_address(PyObject *object, void *Py_UNUSED(closure))
{
    Binding *binding = current_binding((Function *)object);
    return PyLong_FromUnsignedLongLong(binding != NULL ? binding->address : 0);
}

static PyObject *
function_repr(PyObject *object)
{
    Function *self = (Function *)object;
    return PyUnicode_FromFormat("<native function %U.%U>", self->cell->name, self->name);
}

static PyGetSetDef getters[] = {
    {"__doc__", get_doc, NULL, NULL, NULL},
    {"__signature__", get_signature, NULL, NULL, NULL},
    {"__module__", get_module, NULL, NULL, NULL},
    {"_available", get_available, NULL, "Whether the current version has this function.", NULL},
    {"_info", get_info, NULL, "What describes the current version's function, or None.", NULL},
    {"_address", get_address, NULL, "The current version's address, 0 if it has none.", NULL},
    {NULL},
};

static PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Function, vectorcall), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Function, weakrefs), READONLY, NULL},
    {"__name__", T_OBJECT, offsetof(Function, name), READONLY, NULL},
    {"__qualname__", T_OBJECT, offsetof(Function, name), READONLY, NULL},
    {"_cell", T_OBJECT, offsetof(Function, cell), READONLY, NULL},
    {"_slot", T_PYSSIZET, offsetof(Function, slot), READONLY, NULL},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, function_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_traverse, function_traverse},
    {Py_tp_dealloc, function_dealloc},
    {Py_tp_descr_get, function_get},
    {Py_tp_repr, function_repr},
    {Py_tp_getset, getters},
    {Py_tp_members, members},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "midflight._core.Function",
    .basicsize = sizeof(Function),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
function_ready(PyObject *module)
{
    FunctionType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return FunctionType != NULL ? PyModule_AddType(module, FunctionType) : -1;
}
