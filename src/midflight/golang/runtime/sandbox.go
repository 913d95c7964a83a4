//go:build go1.22

package midflightruntime

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// The native worker program has entered the sandbox and has become this program, for which it left one door open:
// starting a program by descriptor.  It is shut here, before the package's own init functions run, because the package
// imports this one.
func init() {
	if len(os.Args) < 3 || os.Args[1] != "exec" || os.Args[2] != "sandbox" {
		return
	}
	os.Args = append(os.Args[:1], os.Args[3:]...)
	if errno := refuseExec(); errno != 0 {
		fmt.Fprintln(os.Stderr, "midflight: the sandbox can't be closed:", errno)
		os.Exit(1)
	}
}

// As in <linux/filter.h>.
type filterStep struct {
	code     uint16
	yes, no  uint8
	argument uint32
}

type filterProgram struct {
	count uint16
	steps *filterStep
}

// refuseExec lets execveat fail with EPERM, in all threads.
func refuseExec() syscall.Errno {
	seccomp, execveat := uintptr(317), uint32(322)
	if runtime.GOARCH == "arm64" {
		seccomp, execveat = 277, 281
	}
	steps := []filterStep{
		{0x20, 0, 0, 0},        // load the call's number
		{0x15, 0, 1, execveat}, // if it is execveat:
		{0x06, 0, 0, 0x00050000 | uint32(syscall.EPERM)}, // SECCOMP_RET_ERRNO
		{0x06, 0, 0, 0x7fff0000},                         // SECCOMP_RET_ALLOW
	}
	program := filterProgram{uint16(len(steps)), &steps[0]}
	const setModeFilter, allThreads = 1, 1
	_, _, errno := syscall.RawSyscall(seccomp, setModeFilter, allThreads, uintptr(unsafe.Pointer(&program)))
	return errno
}
