/* The trampoline and its landing pad for C++ exceptions: see call.h.
 *
 * Without a handler below it, a C++ exception that leaves a native function ends the process (std::terminate).  Unwind
 * tables cost nothing until something is thrown, so the trampoline has a personality routine of its own that stops
 * every GNU C++ exception here: the Itanium C++ ABI, "Exception Handling", sections 1.3 to 1.6.
 */
#include "call.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unwind.h>

#include "guard.h"
#include "unwinder.h"

_Thread_local mf_through *mf_through_innermost
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

#if defined(__x86_64__)
__asm__(
    ".text\n"
    ".p2align 5\n"
    ".globl mf_call_integer\n"
    ".globl mf_call_double\n"
    ".hidden mf_call_integer\n"
    ".hidden mf_call_double\n"
    ".type mf_call_integer, @function\n"
    ".type mf_call_double, @function\n"
    "mf_call_integer:\n"
    "mf_call_double:\n"
    "  .cfi_startproc\n"
    "  .cfi_personality 0x1b, mf_personality\n"
    "  push %rbp\n"
    "  .cfi_def_cfa_offset 16\n"
    "  .cfi_offset %rbp, -16\n"
    "  mov %rsp, %rbp\n"
    "  .cfi_def_cfa_register %rbp\n"
    "  push %rbx\n"
    "  .cfi_offset %rbx, -24\n"
    "  sub $8, %rsp\n"
    "  mov %rdi, %rbx\n"
    "  mov %rsi, %r11\n"
    "  mov 120(%rbx), %rax\n" /* stack_count */
    "  test %rax, %rax\n"
    "  jnz 3f\n"
    "1:\n"
    "  movsd 48(%rbx), %xmm0\n"
    "  movsd 56(%rbx), %xmm1\n"
    "  movsd 64(%rbx), %xmm2\n"
    "  movsd 72(%rbx), %xmm3\n"
    "  movsd 80(%rbx), %xmm4\n"
    "  movsd 88(%rbx), %xmm5\n"
    "  movsd 96(%rbx), %xmm6\n"
    "  movsd 104(%rbx), %xmm7\n"
    "  mov 0(%rbx), %rdi\n"
    "  mov 8(%rbx), %rsi\n"
    "  mov 16(%rbx), %rdx\n"
    "  mov 24(%rbx), %rcx\n"
    "  mov 32(%rbx), %r8\n"
    "  mov 40(%rbx), %r9\n"
    "  mov $8, %eax\n" /* a variadic function reads from %al how many vector registers are used, at most */
    "  call *%r11\n"
    "2:\n"
    "  lea -8(%rbp), %rsp\n"
    "  pop %rbx\n"
    "  pop %rbp\n"
    "  .cfi_remember_state\n"
    "  .cfi_def_cfa %rsp, 8\n"
    "  .cfi_restore %rbx\n"
    "  .cfi_restore %rbp\n"
    "  ret\n"
    "  .cfi_restore_state\n"
    "3:\n" /* push the stack words, last first, keeping the stack aligned to 16 */
    "  mov 112(%rbx), %r10\n"
    "  test $1, %al\n"
    "  jz 4f\n"
    "  sub $8, %rsp\n"
    "4:\n"
    "  pushq -8(%r10,%rax,8)\n"
    "  dec %rax\n"
    "  jnz 4b\n"
    "  jmp 1b\n"
    ".globl mf_call_landing\n"
    ".hidden mf_call_landing\n"
    "mf_call_landing:\n"
    "  mov %rax, 128(%rbx)\n" /* exception */
    "  xor %eax, %eax\n"
    "  jmp 2b\n"
    "  .cfi_endproc\n"
    ".size mf_call_integer, .-mf_call_integer\n"
    ".p2align 5\n"
    ".globl mf_call_integers\n"
    ".hidden mf_call_integers\n"
    ".type mf_call_integers, @function\n"
    "mf_call_integers:\n" /* the same frame, so that the landing above serves it too */
    "  .cfi_startproc\n"
    "  .cfi_personality 0x1b, mf_personality\n"
    "  push %rbp\n"
    "  .cfi_def_cfa_offset 16\n"
    "  .cfi_offset %rbp, -16\n"
    "  mov %rsp, %rbp\n"
    "  .cfi_def_cfa_register %rbp\n"
    "  push %rbx\n"
    "  .cfi_offset %rbx, -24\n"
    "  sub $8, %rsp\n"
    "  mov %rdi, %rbx\n"
    "  mov %rsi, %r11\n"
    "  mov 0(%rbx), %rdi\n"
    "  mov 8(%rbx), %rsi\n"
    "  mov 16(%rbx), %rdx\n"
    "  mov 24(%rbx), %rcx\n"
    "  mov 32(%rbx), %r8\n"
    "  mov 40(%rbx), %r9\n"
    "  xor %eax, %eax\n"
    "  call *%r11\n"
    "  mov -8(%rbp), %rbx\n"
    "  leave\n"
    "  .cfi_def_cfa %rsp, 8\n"
    "  ret\n"
    "  .cfi_endproc\n"
    ".size mf_call_integers, .-mf_call_integers\n");

/* The arguments stay where they are, also those on the stack: the return address goes elsewhere meanwhile, and the
 * function's own takes its place.  The escapes say where it and %rbx are kept: at %rbx + 16 and %rbx + 24. */
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl mf_call_through\n"
    ".hidden mf_call_through\n"
    ".type mf_call_through, @function\n"
    "mf_call_through:\n"
    "  .cfi_startproc\n"
    "  .cfi_personality 0x1b, mf_personality_through\n"
    "  mov mf_through_innermost@gottpoff(%rip), %r11\n"
    "  mov %fs:(%r11), %r11\n"
    "  pop %r10\n"
    "  .cfi_def_cfa_offset 0\n"
    "  mov %r10, 16(%r11)\n"
    "  mov %rbx, 24(%r11)\n"
    "  mov %r11, %rbx\n"
    "  .cfi_escape 0x10, 0x10, 0x02, 0x73, 0x10\n"
    "  .cfi_escape 0x10, 0x03, 0x02, 0x73, 0x18\n"
    "  call *(%rbx)\n"
    "1:\n"
    "  mov 16(%rbx), %r11\n"
    "  mov 24(%rbx), %rbx\n"
    "  push %r11\n"
    "  ret\n"
    ".globl mf_through_landing\n"
    ".hidden mf_through_landing\n"
    "mf_through_landing:\n"
    "  mov %rax, 8(%rbx)\n" /* exception */
    "  xor %eax, %eax\n"
    "  jmp 1b\n"
    "  .cfi_endproc\n"
    ".size mf_call_through, .-mf_call_through\n");

/* The trampoline's own way back leaves the result registers alone. */
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl mf_call_results\n"
    ".hidden mf_call_results\n"
    ".type mf_call_results, @function\n"
    "mf_call_results:\n"
    "  .cfi_startproc\n"
    "  push %rbx\n"
    "  .cfi_def_cfa_offset 16\n"
    "  .cfi_offset %rbx, -16\n"
    "  mov %rdx, %rbx\n"
    "  call mf_call_integer\n"
    "  mov %rax, 0(%rbx)\n"
    "  mov %rdx, 8(%rbx)\n"
    "  movsd %xmm0, 16(%rbx)\n"
    "  movsd %xmm1, 24(%rbx)\n"
    "  pop %rbx\n"
    "  .cfi_def_cfa_offset 8\n"
    "  ret\n"
    "  .cfi_endproc\n"
    ".size mf_call_results, .-mf_call_results\n");

_Static_assert(offsetof(mf_registers, doubles) == 48 && offsetof(mf_registers, stack) == 112 &&
                   offsetof(mf_registers, stack_count) == 120 && offsetof(mf_registers, exception) == 128,
               "the assembly above knows this layout");
#else
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl mf_call_integer\n"
    ".globl mf_call_double\n"
    ".hidden mf_call_integer\n"
    ".hidden mf_call_double\n"
    ".type mf_call_integer, %function\n"
    ".type mf_call_double, %function\n"
    "mf_call_integer:\n"
    "mf_call_double:\n"
    "  .cfi_startproc\n"
    "  .cfi_personality 0x1b, mf_personality\n"
    "  stp x29, x30, [sp, #-32]!\n"
    "  .cfi_def_cfa_offset 32\n"
    "  .cfi_offset x29, -32\n"
    "  .cfi_offset x30, -24\n"
    "  mov x29, sp\n"
    "  .cfi_def_cfa x29, 32\n"
    "  str x19, [sp, #16]\n"
    "  .cfi_offset x19, -16\n"
    "  mov x19, x0\n"
    "  mov x16, x1\n"
    "  ldr x9, [x19, #136]\n" /* stack_count */
    "  cbz x9, 1f\n"
    "  ldr x10, [x19, #128]\n"
    "  add x11, x9, #1\n"
    "  and x11, x11, #~1\n"
    "  sub sp, sp, x11, lsl #3\n"
    "  mov x12, sp\n"
    "0:\n"
    "  ldr x13, [x10], #8\n"
    "  str x13, [x12], #8\n"
    "  subs x9, x9, #1\n"
    "  b.ne 0b\n"
    "1:\n"
    "  ldp d0, d1, [x19, #64]\n"
    "  ldp d2, d3, [x19, #80]\n"
    "  ldp d4, d5, [x19, #96]\n"
    "  ldp d6, d7, [x19, #112]\n"
    "  ldp x0, x1, [x19, #0]\n"
    "  ldp x2, x3, [x19, #16]\n"
    "  ldp x4, x5, [x19, #32]\n"
    "  ldp x6, x7, [x19, #48]\n"
    "  blr x16\n"
    "2:\n"
    "  mov sp, x29\n"
    "  ldr x19, [sp, #16]\n"
    "  ldp x29, x30, [sp], #32\n"
    "  .cfi_remember_state\n"
    "  .cfi_def_cfa sp, 0\n"
    "  .cfi_restore x19\n"
    "  .cfi_restore x29\n"
    "  .cfi_restore x30\n"
    "  ret\n"
    "  .cfi_restore_state\n"
    ".globl mf_call_landing\n"
    ".hidden mf_call_landing\n"
    "mf_call_landing:\n"
    "  str x0, [x19, #144]\n" /* exception */
    "  mov x0, #0\n"
    "  b 2b\n"
    "  .cfi_endproc\n"
    ".size mf_call_integer, .-mf_call_integer\n"
    ".p2align 4\n"
    ".globl mf_call_integers\n"
    ".hidden mf_call_integers\n"
    ".type mf_call_integers, %function\n"
    "mf_call_integers:\n" /* the same frame, so that the landing above serves it too */
    "  .cfi_startproc\n"
    "  .cfi_personality 0x1b, mf_personality\n"
    "  stp x29, x30, [sp, #-32]!\n"
    "  .cfi_def_cfa_offset 32\n"
    "  .cfi_offset x29, -32\n"
    "  .cfi_offset x30, -24\n"
    "  mov x29, sp\n"
    "  .cfi_def_cfa x29, 32\n"
    "  str x19, [sp, #16]\n"
    "  .cfi_offset x19, -16\n"
    "  mov x19, x0\n"
    "  mov x16, x1\n"
    "  ldp x0, x1, [x19, #0]\n"
    "  ldp x2, x3, [x19, #16]\n"
    "  ldp x4, x5, [x19, #32]\n"
    "  ldp x6, x7, [x19, #48]\n"
    "  blr x16\n"
    "  ldr x19, [sp, #16]\n"
    "  ldp x29, x30, [sp], #32\n"
    "  .cfi_def_cfa sp, 0\n"
    "  .cfi_restore x19\n"
    "  .cfi_restore x29\n"
    "  .cfi_restore x30\n"
    "  ret\n"
    "  .cfi_endproc\n"
    ".size mf_call_integers, .-mf_call_integers\n");

/* The arguments stay where they are; x30 and x19 are kept at x19 + 16 and x19 + 24, as the escapes say. */
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl mf_call_through\n"
    ".hidden mf_call_through\n"
    ".type mf_call_through, %function\n"
    "mf_call_through:\n"
    "  .cfi_startproc\n"
    "  .cfi_personality 0x1b, mf_personality_through\n"
    "  adrp x9, :gottprel:mf_through_innermost\n"
    "  ldr x9, [x9, #:gottprel_lo12:mf_through_innermost]\n"
    "  mrs x10, tpidr_el0\n"
    "  ldr x9, [x10, x9]\n"
    "  stp x30, x19, [x9, #16]\n"
    "  mov x19, x9\n"
    "  .cfi_escape 0x10, 0x1e, 0x02, 0x83, 0x10\n"
    "  .cfi_escape 0x10, 0x13, 0x02, 0x83, 0x18\n"
    "  ldr x16, [x19]\n"
    "  blr x16\n"
    "1:\n"
    "  mov x9, x19\n"
    "  ldp x30, x19, [x9, #16]\n"
    "  ret\n"
    ".globl mf_through_landing\n"
    ".hidden mf_through_landing\n"
    "mf_through_landing:\n"
    "  str x0, [x19, #8]\n" /* exception */
    "  mov x0, #0\n"
    "  b 1b\n"
    "  .cfi_endproc\n"
    ".size mf_call_through, .-mf_call_through\n");

/* The trampoline's own way back leaves the result registers alone. */
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl mf_call_results\n"
    ".hidden mf_call_results\n"
    ".type mf_call_results, %function\n"
    "mf_call_results:\n"
    "  .cfi_startproc\n"
    "  stp x30, x19, [sp, #-16]!\n"
    "  .cfi_def_cfa_offset 16\n"
    "  .cfi_offset x30, -16\n"
    "  .cfi_offset x19, -8\n"
    "  mov x19, x2\n"
    "  bl mf_call_integer\n"
    "  stp x0, x1, [x19]\n"
    "  stp d0, d1, [x19, #16]\n"
    "  ldp x30, x19, [sp], #16\n"
    "  .cfi_def_cfa_offset 0\n"
    "  ret\n"
    "  .cfi_endproc\n"
    ".size mf_call_results, .-mf_call_results\n");

_Static_assert(offsetof(mf_registers, doubles) == 64 && offsetof(mf_registers, stack) == 128 &&
                   offsetof(mf_registers, stack_count) == 136 && offsetof(mf_registers, exception) == 144,
               "the assembly above knows this layout");
#endif

_Static_assert(offsetof(mf_through, function) == 0 && offsetof(mf_through, exception) == 8 &&
                   offsetof(mf_through, kept) == 16,
               "the assembly above knows this layout");

extern const char mf_call_landing[], mf_through_landing[], mf_guard_through_exception[];

/* "GNUCC++" and a last byte: 0 for an exception, 1 for one that std::rethrow_exception threw again. */
static const uint64_t GNU_CXX = 0x474e5543432b2b00;

static int
is_cxx(uint64_t exception_class)
{
    return (exception_class & ~(uint64_t)0xff) == GNU_CXX;
}

static _Unwind_Reason_Code
stop_at(const char *landing, int version, _Unwind_Action actions, _Unwind_Exception_Class exception_class,
        struct _Unwind_Exception *exception, struct _Unwind_Context *context)
{
    if (version != 1) {
        return _URC_FATAL_PHASE1_ERROR;
    }
    /* pthread_exit and thread cancellation unwind too, and must not be stopped. */
    if ((actions & _UA_FORCE_UNWIND) != 0 || !is_cxx(exception_class)) {
        return _URC_CONTINUE_UNWIND;
    }
    mf_unwinder use = mf_find_unwinder();
    if (use.set_register == NULL || use.set_ip == NULL) {
        return _URC_CONTINUE_UNWIND;
    }
    if ((actions & _UA_SEARCH_PHASE) != 0) {
        return _URC_HANDLER_FOUND;
    }
    use.set_register(context, 0, (_Unwind_Word)(uintptr_t)exception); /* rax or x0 */
    use.set_ip(context, (_Unwind_Ptr)(uintptr_t)landing);
    return _URC_INSTALL_CONTEXT;
}

/* Called by the unwinder when an exception passes the trampoline. */
__attribute__((visibility("hidden"))) _Unwind_Reason_Code
mf_personality(int version, _Unwind_Action actions, _Unwind_Exception_Class exception_class,
               struct _Unwind_Exception *exception, struct _Unwind_Context *context)
{
    return stop_at(mf_call_landing, version, actions, exception_class, exception, context);
}

/* The same for mf_call_through. */
__attribute__((visibility("hidden"))) _Unwind_Reason_Code
mf_personality_through(int version, _Unwind_Action actions, _Unwind_Exception_Class exception_class,
                       struct _Unwind_Exception *exception, struct _Unwind_Context *context)
{
    return stop_at(mf_through_landing, version, actions, exception_class, exception, context);
}

/* The same for mf_guard_call_through; what isn't stopped takes the point away as it passes. */
__attribute__((visibility("hidden"))) _Unwind_Reason_Code
mf_personality_guard_through(int version, _Unwind_Action actions, _Unwind_Exception_Class exception_class,
                             struct _Unwind_Exception *exception, struct _Unwind_Context *context)
{
    _Unwind_Reason_Code answer =
        stop_at(mf_guard_through_exception, version, actions, exception_class, exception, context);
    return answer == _URC_CONTINUE_UNWIND ? mf_personality_guard(version, actions, exception_class, exception, context)
                                          : answer;
}

/* The C++ runtime's own functions, if it is loaded as a shared library (its copy in a library that was linked with
 * -static-libstdc++ can't be reached: then the exception keeps its words to itself). */
typedef struct cxx_runtime {
    void *(*begin_catch)(void *);
    void (*end_catch)(void);
    char *(*demangle)(const char *, char *, size_t *, int *);
    const void *std_exception; /* typeid(std::exception) */
} cxx_runtime;

static cxx_runtime
find_cxx_runtime(void)
{
    cxx_runtime found = {0};
    void *library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_NOLOAD);
    if (library != NULL) {
        *(void **)&found.begin_catch = dlsym(library, "__cxa_begin_catch");
        *(void **)&found.end_catch = dlsym(library, "__cxa_end_catch");
        *(void **)&found.demangle = dlsym(library, "__cxa_demangle");
        found.std_exception = dlsym(library, "_ZTISt9exception");
        dlclose(library);
    }
    return found;
}

/* libstdc++'s __cxa_exception keeps the thrown type 80 bytes before the unwinder's header (unwind-cxx.h). */
enum { TYPE_BEFORE_HEADER = 80 };

typedef struct type_info {
    const void *const *methods;
    const char *name;
} type_info;

/* Slot numbers of the virtual functions, after the destructor's two: std::type_info::__do_catch and exception::what. */
enum { SLOT_DO_CATCH = 4, SLOT_WHAT = 2 };

static void
copy_what(const type_info *thrown, const void *std_exception, void *object, char *text, size_t size)
{
    bool (*do_catch)(const void *, const void *, void **, unsigned);
    const char *(*what)(void *);
    *(const void **)&do_catch = ((const type_info *)std_exception)->methods[SLOT_DO_CATCH];
    if (!do_catch(std_exception, thrown, &object, 1)) {
        return;
    }
    *(const void **)&what = (*(const void *const *const *)object)[SLOT_WHAT];
    snprintf(text, size, "%s", what(object));
}

static void
copy_type_name(const type_info *thrown, const cxx_runtime *runtime, char *text, size_t size)
{
    const char *name = thrown->name[0] == '*' ? thrown->name + 1 : thrown->name;
    int status = -1;
    char *readable = runtime->demangle != NULL ? runtime->demangle(name, NULL, NULL, &status) : NULL;
    snprintf(text, size, "%s", status == 0 && readable != NULL ? readable : name);
    free(readable);
}

void
mf_exception_take(mf_registers *registers, mf_exception_text *text)
{
    struct _Unwind_Exception *exception = registers->exception;
    registers->exception = NULL;
    text->type_name[0] = text->what[0] = '\0';
    const type_info *thrown = NULL;
    cxx_runtime runtime = find_cxx_runtime();
    if (exception->exception_class == GNU_CXX) {
        memcpy(&thrown, (char *)exception - TYPE_BEFORE_HEADER, sizeof thrown);
        copy_type_name(thrown, &runtime, text->type_name, sizeof text->type_name);
    }
    if (runtime.begin_catch == NULL || runtime.end_catch == NULL) {
        mf_unwinder use = mf_find_unwinder();
        if (use.delete_exception != NULL) {
            use.delete_exception(exception);
        }
        return;
    }
    runtime.begin_catch(exception);
    if (thrown != NULL && runtime.std_exception != NULL) {
        /* The thrown object follows the header; begin_catch's answer is what a C++ personality would have left. */
        copy_what(thrown, runtime.std_exception, exception + 1, text->what, sizeof text->what);
    }
    runtime.end_catch();
}
