/* A filter of system calls (seccomp, linux/Documentation/userspace-api/seccomp_filter.rst).
 *
 * What is refused fails with EPERM, as if the user weren't allowed to; calls that have an older equivalent fail with
 * ENOSYS, so that the C library takes that one, whose arguments can be looked at. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker.h"

#if defined(__x86_64__)
#define MACHINE AUDIT_ARCH_X86_64
#else
#define MACHINE AUDIT_ARCH_AARCH64
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)
#define REFUSED(number) RETURN(SECCOMP_RET_ERRNO | (number))
/* The accumulator has the call's number.  If it is this one: */
#define REFUSE(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), REFUSED(EPERM)
#define PRETEND_MISSING(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), REFUSED(ENOSYS)
/* … refuse it where an argument has any of these bits; */
#define REFUSE_BITS(name, argument, bits)                                                                       \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 4), LOAD(args[argument]),                                 \
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1), REFUSED(EPERM), RETURN(SECCOMP_RET_ALLOW)
/* … where it has none of them; */
#define REQUIRE_BITS(name, argument, bits)                                                                      \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 4), LOAD(args[argument]),                                 \
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 1, 0), REFUSED(EPERM), RETURN(SECCOMP_RET_ALLOW)
/* … where it isn't this number (of the process itself). */
#define REQUIRE_VALUE(name, argument, value)                                                                    \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 4), LOAD(args[argument]),                                 \
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0), REFUSED(EPERM), RETURN(SECCOMP_RET_ALLOW)

enum { WRITING = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND };

static bool
enter(bool may_exec)
{
    uint32_t exec = may_exec ? UINT32_MAX : SYS_execveat; /* a number that no call has */
    uint32_t self = (uint32_t)getpid();
    struct sock_filter rules[] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MACHINE, 1, 0),
        RETURN(SECCOMP_RET_KILL_PROCESS),
        LOAD(nr),
#if defined(__x86_64__)
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), /* the numbers of x32 */
        REFUSED(ENOSYS),
        REFUSE_BITS(open, 1, WRITING), REFUSE(creat), REFUSE(unlink), REFUSE(rename), REFUSE(mkdir), REFUSE(rmdir),
        REFUSE(link), REFUSE(symlink), REFUSE(mknod), REFUSE(chmod), REFUSE(chown), REFUSE(lchown), REFUSE(utime),
        REFUSE(utimes), REFUSE(futimesat), REFUSE(fork), REFUSE(vfork), REFUSE(renameat),
#endif
        /* files */
        REFUSE_BITS(openat, 2, WRITING), PRETEND_MISSING(openat2), REFUSE(unlinkat), REFUSE(renameat2), REFUSE(mkdirat),
        REFUSE(linkat), REFUSE(symlinkat), REFUSE(mknodat), REFUSE(truncate), REFUSE(fchmod), REFUSE(fchmodat),
        REFUSE(fchown), REFUSE(fchownat), REFUSE(utimensat), REFUSE(setxattr), REFUSE(lsetxattr), REFUSE(fsetxattr),
        REFUSE(removexattr), REFUSE(lremovexattr), REFUSE(fremovexattr), REFUSE(mount), REFUSE(umount2),
        REFUSE(pivot_root), REFUSE(chroot), REFUSE(open_by_handle_at), REFUSE(swapon), REFUSE(swapoff),
        /* the network; io_uring would do all of this behind the filter's back */
        REFUSE(socket), REFUSE(connect), REFUSE(bind), REFUSE(listen), REFUSE(accept), REFUSE(accept4),
        PRETEND_MISSING(io_uring_setup),
        /* other processes */
        REFUSE(execve), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, exec, 0, 1), REFUSED(EPERM), REFUSE(ptrace), REFUSE(process_vm_readv), REFUSE(process_vm_writev),
        REFUSE(pidfd_open), REFUSE(pidfd_getfd), REFUSE(pidfd_send_signal), REFUSE(tkill), REFUSE(rt_sigqueueinfo),
        REFUSE(setns), REFUSE(unshare), PRETEND_MISSING(clone3), REQUIRE_BITS(clone, 0, CLONE_THREAD),
        REQUIRE_VALUE(kill, 0, self), REQUIRE_VALUE(tgkill, 0, self), REQUIRE_VALUE(rt_tgsigqueueinfo, 0, self),
        /* the kernel */
        REFUSE(bpf), REFUSE(perf_event_open), REFUSE(userfaultfd), REFUSE(add_key), REFUSE(request_key), REFUSE(keyctl),
        REFUSE(init_module), REFUSE(finit_module), REFUSE(delete_module), REFUSE(kexec_load), REFUSE(reboot),
        REFUSE(settimeofday), REFUSE(clock_settime), REFUSE(acct), REFUSE(quotactl), REFUSE(sethostname),
        REFUSE(setdomainname),
        RETURN(SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

bool
sandbox_enter(void)
{
    return enter(false);
}

bool
sandbox_enter_for_program(void)
{
    return enter(true);
}
