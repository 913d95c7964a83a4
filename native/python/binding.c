/* Binding: how one function of one version is called.  Immutable; made by the native lane from the interface. */
#include "core.h"

PyTypeObject *BindingType;

typedef struct KindName {
    const char *name;
    Kind kind;
    int64_t low, high;
} KindName;

static const KindName KINDS[] = {
    {"void", KIND_VOID, 0, 0},
    {"int8", KIND_INT8, INT8_MIN, INT8_MAX},
    {"int16", KIND_INT16, INT16_MIN, INT16_MAX},
    {"int32", KIND_INT32, INT32_MIN, INT32_MAX},
    {"uint8", KIND_UINT8, 0, UINT8_MAX},
    {"uint16", KIND_UINT16, 0, UINT16_MAX},
    {"uint32", KIND_UINT32, 0, UINT32_MAX},
    {"int64", KIND_INT64, INT64_MIN, INT64_MAX},
    {"uint64", KIND_UINT64, 0, INT64_MAX},
    {"bool", KIND_BOOL, 0, 0},
    {"float32", KIND_FLOAT32, 0, 0},
    {"float64", KIND_FLOAT64, 0, 0},
    {"pointer", KIND_POINTER, 0, 0},
    {"callback", KIND_CALLBACK, 0, 0},
    {"string", KIND_STRING, 0, 0},
    {"struct", KIND_STRUCT, 0, 0},
};

static const KindName *
find_kind(PyObject *name)
{
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        if (PyUnicode_CompareWithASCIIString(name, KINDS[i].name) == 0) {
            return &KINDS[i];
        }
    }
    PyErr_Format(PyExc_ValueError, "%R is no kind of value", name);
    return NULL;
}

static int
read_param(Param *param, PyObject *tuple)
{
    PyObject *name, *kind, *type_name, *extra, *target, *misfit;
    int item, constant;
    unsigned int item_size;
    if (!PyTuple_Check(tuple)) {
        PyErr_SetString(PyExc_TypeError, "a parameter is described by a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(tuple, "UUCIpUOUO", &name, &kind, &item, &item_size, &constant, &type_name, &extra, &target,
                          &misfit)) {
        return -1;
    }
    const KindName *found = find_kind(kind);
    if (found == NULL) {
        return -1;
    }
    if (found->kind == KIND_VOID || found->kind == KIND_STRING) {
        PyErr_Format(PyExc_ValueError, "no parameter is of the kind %R", kind);
        return -1;
    }
    *param = (Param){
        .kind = (uint8_t)found->kind,
        .constant = constant != 0,
        .item = (char)item,
        .item_size = item_size,
        .low = found->low,
        .high = found->high,
        .name = Py_NewRef(name),
        .type_name = Py_NewRef(type_name),
        .extra = Py_NewRef(extra),
        .target = Py_NewRef(target),
        .misfit = Py_NewRef(misfit),
    };
    return 0;
}

/* The classes of a struct's eightbytes as the native lane's layouts give them: 'I' or 'D' each, or "M": in memory. */
static const char *
struct_classes(PyObject *target)
{
    const char *text = PyUnicode_AsUTF8(target); /* it is ASCII: made by us */
    return text != NULL ? text : "";
}

/* A struct by value: in registers if there are enough for all of it, else on the stack (System V ABI, AMD64 supplement,
 * 3.2.3). */
static void
place_struct(Binding *self, Param *param, uint16_t *integers, uint16_t *doubles)
{
    uint16_t wanted_integers = 0, wanted_doubles = 0;
    const char *classes = struct_classes(param->target);
    for (const char *class = classes; *class != '\0'; class++) {
        wanted_integers += *class == 'I';
        wanted_doubles += *class == 'D';
    }
    param->on_stack = classes[0] == 'M' || *integers + wanted_integers > MF_INTEGER_REGISTERS ||
                      *doubles + wanted_doubles > MF_DOUBLE_REGISTERS;
    if (param->on_stack) {
        param->index = self->stack_count;
        self->stack_count += (uint16_t)((param->item_size + 7) / 8);
        return;
    }
    param->index = *integers;
    param->second = *doubles;
    *integers += wanted_integers;
    *doubles += wanted_doubles;
}

/* Gives every parameter its register, or its word on the stack. */
static void
place_params(Binding *self)
{
    /* Before the parameters comes the address for a struct that is returned in memory. */
    uint16_t integers = self->result_size != 0 && struct_classes(self->result_target)[0] == 'M', doubles = 0;
    bool simple = self->slow == NULL && self->worker == NULL && self->unusable == NULL && self->result_size == 0;
    bool only_integers = !self->returns_floating;
    for (Py_ssize_t i = 0; i < self->param_count; i++) {
        Param *param = &self->params[i];
        if (param->kind == KIND_STRUCT && self->slow == NULL) {
            place_struct(self, param, &integers, &doubles);
            simple = false;
            continue;
        }
        bool floating = param->kind == KIND_FLOAT32 || param->kind == KIND_FLOAT64;
        uint16_t *taken = floating ? &doubles : &integers;
        param->on_stack = *taken == (floating ? MF_DOUBLE_REGISTERS : MF_INTEGER_REGISTERS);
        param->index = param->on_stack ? self->stack_count++ : (*taken)++;
        self->pointer_count += param->kind == KIND_POINTER;
        simple &= !param->on_stack && param->kind != KIND_POINTER && param->kind != KIND_CALLBACK;
        only_integers &= param->kind <= KIND_UINT64;
    }
    self->simple_count = simple ? self->param_count : -1;
    self->integer_count = simple && only_integers ? self->param_count : -1;
}

static int
read_params(Binding *self, PyObject *params)
{
    PyObject *items = PySequence_Fast(params, "params is no sequence");
    if (items == NULL) {
        return -1;
    }
    Py_ssize_t count = PySequence_Fast_GET_SIZE(items);
    if (count > MF_INTEGER_REGISTERS + MF_STACK_WORDS) {
        PyErr_SetString(PyExc_ValueError, "too many parameters");
        Py_DECREF(items);
        return -1;
    }
    self->params = PyMem_Calloc((size_t)count + 1, sizeof(Param));
    if (self->params == NULL) {
        Py_DECREF(items);
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (read_param(&self->params[i], PySequence_Fast_GET_ITEM(items, i)) != 0) {
            Py_DECREF(items);
            return -1;
        }
        self->param_count = i + 1;
    }
    Py_DECREF(items);
    place_params(self);
    return 0;
}

/* A struct by value needs somebody who can pass it. */
static int
check_structs(const Binding *self)
{
    bool structs = self->result == KIND_STRUCT && self->result_size == 0;
    for (Py_ssize_t i = 0; i < self->param_count; i++) {
        structs |= self->params[i].kind == KIND_STRUCT && PyUnicode_GET_LENGTH(self->params[i].target) == 0;
    }
    if (self->stack_count > MF_STACK_WORDS && self->slow == NULL) {
        PyErr_SetString(PyExc_ValueError, "too many words for the stack");
        return -1;
    }
    if (structs && self->slow == NULL) {
        PyErr_SetString(PyExc_ValueError, "a struct by value needs its classes, or `slow`");
        return -1;
    }
    return 0;
}

static PyObject *
optional(PyObject *value)
{
    return value == NULL || value == Py_None ? NULL : Py_NewRef(value);
}

static PyObject *
binding_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"name", "address", "params", "result", "hold_gil", "slow", "unusable", "info", "raw", "worker",
                             "guarded", NULL};
    PyObject *name, *params, *result_kind, *result_type, *result_extra, *result_target;
    PyObject *slow = NULL, *unusable = NULL, *info = NULL, *worker = NULL;
    unsigned long long address;
    int hold_gil = 0, raw = 0, guarded = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "UKO(UUOU)|$pOOOpOp", names, &name, &address, &params,
                                     &result_kind, &result_type, &result_extra, &result_target, &hold_gil, &slow,
                                     &unusable, &info, &raw, &worker, &guarded)) {
        return NULL;
    }
    if (worker != NULL && worker != Py_None && !Py_IS_TYPE(worker, WorkerType)) {
        PyErr_SetString(PyExc_TypeError, "worker must be a Worker or None");
        return NULL;
    }
    if (unusable != NULL && unusable != Py_None && !PyUnicode_Check(unusable)) {
        PyErr_SetString(PyExc_TypeError, "unusable must be a str or None");
        return NULL;
    }
    const KindName *result = find_kind(result_kind);
    Binding *self = result != NULL ? (Binding *)type->tp_alloc(type, 0) : NULL;
    if (self == NULL) {
        return NULL;
    }
    self->address = (uintptr_t)address;
    self->result = (uint8_t)result->kind;
    self->hold_gil = hold_gil != 0;
    self->care = guarded != 0 ? GUARDED : 0;
    self->raw = raw != 0 && slow != NULL && slow != Py_None;
    self->returns_int = result->kind == KIND_INT32 && result_extra == Py_None;
    self->returns_floating = result->kind == KIND_FLOAT64 || result->kind == KIND_FLOAT32;
    self->name = Py_NewRef(name);
    self->result_type = Py_NewRef(result_type);
    self->result_extra = Py_NewRef(result_extra);
    self->result_target = Py_NewRef(result_target);
    self->slow = optional(slow);
    self->unusable = optional(unusable);
    self->worker = (Worker *)optional(worker);
    if (result->kind == KIND_STRUCT && self->slow == NULL) {
        const char *classes = struct_classes(result_target);
        self->result_size = (uint32_t)strtoul(classes + strspn(classes, "MID"), NULL, 10);
    }
    self->info = Py_NewRef(info != NULL ? info : Py_None);
    if (read_params(self, params) != 0 || check_structs(self) != 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int
binding_traverse(PyObject *object, visitproc visit, void *arg)
{
    Binding *self = (Binding *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->result_extra);
    Py_VISIT(self->slow);
    Py_VISIT(self->worker);
    Py_VISIT(self->info);
    for (Py_ssize_t i = 0; i < self->param_count; i++) {
        Py_VISIT(self->params[i].extra);
        Py_VISIT(self->params[i].misfit);
    }
    return 0;
}

/* What the parameters refer to may lead back here (a callback converter knows its version), and goes first. */
static int
binding_clear(PyObject *object)
{
    Binding *self = (Binding *)object;
    Py_CLEAR(self->result_extra);
    Py_CLEAR(self->slow);
    Py_CLEAR(self->worker);
    Py_CLEAR(self->info);
    for (Py_ssize_t i = 0; i < self->param_count; i++) {
        Py_CLEAR(self->params[i].extra);
        Py_CLEAR(self->params[i].misfit);
    }
    return 0;
}

static void
binding_dealloc(PyObject *object)
{
    Binding *self = (Binding *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    binding_clear(object);
    for (Py_ssize_t i = 0; i < self->param_count; i++) {
        Py_CLEAR(self->params[i].name);
        Py_CLEAR(self->params[i].type_name);
        Py_CLEAR(self->params[i].target);
    }
    PyMem_Free(self->params);
    Py_CLEAR(self->name);
    Py_CLEAR(self->result_type);
    Py_CLEAR(self->result_target);
    Py_CLEAR(self->unusable);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- for the calls that go through ctypes: one conversion, one set of rules ------------------------------------------ */

static PyObject *
number_object(const Param *param, const mf_registers *registers)
{
    uint64_t integer = registers->integers[0];
    double floating = registers->doubles[0];
    float narrow;
    switch ((Kind)param->kind) {
    case KIND_FLOAT32: memcpy(&narrow, &floating, sizeof narrow); return PyFloat_FromDouble(narrow);
    case KIND_FLOAT64: return PyFloat_FromDouble(floating);
    case KIND_BOOL: return PyBool_FromLong(integer != 0);
    case KIND_UINT64: return PyLong_FromUnsignedLongLong(integer);
    default: return PyLong_FromLongLong((int64_t)integer);
    }
}

static PyObject *
binding_convert(PyObject *object, PyObject *arguments)
{
    Binding *self = (Binding *)object;
    Py_ssize_t index;
    PyObject *value;
    if (!PyArg_ParseTuple(arguments, "nO", &index, &value)) {
        return NULL;
    }
    if (index < 0 || index >= self->param_count) {
        PyErr_SetString(PyExc_IndexError, "no such parameter");
        return NULL;
    }
    Param param = self->params[index];
    if (param.kind == KIND_STRUCT) {
        PyErr_SetString(PyExc_ValueError, "a struct by value isn't converted");
        return NULL;
    }
    mf_registers registers;
    param.on_stack = false;
    param.index = 0;
    if (param.kind != KIND_POINTER && param.kind != KIND_CALLBACK) {
        int problem = convert_number(&param, value, self->name, &registers, NULL);
        return problem == 0 ? Py_BuildValue("(NO)", number_object(&param, &registers), Py_None) : NULL;
    }
    Py_buffer held;
    Views views = {.view = &held};
    uint64_t address;
    PyObject *hold = Py_NewRef(Py_None), *result = NULL;
    if (convert_pointer(&param, value, self->name, &address, &views) == 0) {
        if (views.count != 0) {
            Py_SETREF(hold, PyMemoryView_FromObject(value));
        }
        result = hold != NULL ? Py_BuildValue("(KO)", (unsigned long long)address, hold) : NULL;
    }
    for (Py_ssize_t i = 0; i < views.count; i++) {
        PyBuffer_Release(&views.view[i]);
    }
    Py_XDECREF(hold);
    return result;
}

static PyObject *
binding_from_address(PyObject *object, PyObject *arguments)
{
    const Binding *self = (const Binding *)object;
    PyObject *table;
    unsigned long long value;
    if (!PyArg_ParseTuple(arguments, "O!K", TableType, &table, &value)) {
        return NULL;
    }
    return result_from_integer(self, (Table *)table, value,
                               self->worker != NULL ? self->worker->link : NULL);
}

/* Owns what the copied memory of another binding refers to. */
static void
take_references(Binding *self)
{
    for (Py_ssize_t i = 0; i < self->param_count; i++) {
        Py_INCREF(self->params[i].name);
        Py_INCREF(self->params[i].type_name);
        Py_INCREF(self->params[i].extra);
        Py_INCREF(self->params[i].target);
        Py_INCREF(self->params[i].misfit);
    }
    Py_INCREF(self->name);
    Py_INCREF(self->result_type);
    Py_INCREF(self->result_extra);
    Py_INCREF(self->result_target);
    Py_XINCREF(self->unusable);
    Py_INCREF(self->info);
}

static PyObject *
binding_moved(PyObject *object, PyObject *arguments)
{
    const Binding *self = (Binding *)object;
    unsigned long long address;
    PyObject *info;
    if (!PyArg_ParseTuple(arguments, "KO", &address, &info)) {
        return NULL;
    }
    if (self->slow != NULL || self->worker != NULL) {
        PyErr_SetString(PyExc_ValueError, "`slow` and a worker belong to one version");
        return NULL;
    }
    Binding *moved = (Binding *)BindingType->tp_alloc(BindingType, 0);
    Param *params = PyMem_Malloc(((size_t)self->param_count + 1) * sizeof(Param));
    if (moved == NULL || params == NULL) {
        Py_XDECREF(moved);
        PyMem_Free(params);
        return PyErr_NoMemory();
    }
    memcpy(params, self->params, (size_t)self->param_count * sizeof(Param));
    memcpy((char *)moved + sizeof(PyObject), (const char *)self + sizeof(PyObject), sizeof(Binding) - sizeof(PyObject));
    moved->address = (uintptr_t)address;
    moved->params = params;
    moved->info = info;
    take_references(moved);
    return (PyObject *)moved;
}

static PyMethodDef methods[] = {
    {"moved", binding_moved, METH_VARARGS, "The same call of a function at another address, with another info."},
    {"convert", binding_convert, METH_VARARGS, "Convert one argument; return (number or address, what to keep alive)."},
    {"result_from", binding_from_address, METH_VARARGS, "Convert an integer or an address as a result."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_methods, methods},
    {Py_tp_doc, "How one function of one version is called."},
    {Py_tp_new, binding_new},
    {Py_tp_traverse, binding_traverse},
    {Py_tp_clear, binding_clear},
    {Py_tp_dealloc, binding_dealloc},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "midflight._core.Binding",
    .basicsize = sizeof(Binding),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int
binding_ready(PyObject *module)
{
    BindingType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return BindingType != NULL ? PyModule_AddType(module, BindingType) : -1;
}
