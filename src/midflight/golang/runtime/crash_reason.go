//go:build go1.23

package midflightruntime

import (
	"syscall"
	"unsafe"
)

// The runtime copies what it writes about a fatal error to the crash output, all but the first line, the one with the
// reason: that is written before it knows of the crash.  So all that the runtime writes itself comes by here, and what
// begins with "fatal error: " is added before the first text for the crash output.
//
// This runs wherever the runtime fails: on any stack, without memory management.  What it needs is here already.

//go:linkname overrideWrite runtime.overrideWrite
var overrideWrite func(descriptor uintptr, text unsafe.Pointer, size int32) int32

const (
	standardError = 2
	reasonSize    = 1024
	reasonStart   = "fatal error: " // the runtime writes these words at once, and what follows by itself
)

var reason struct {
	text [reasonSize]byte
	size int // 0: there is none
}

//go:nosplit
func writeThrough(descriptor uintptr, text unsafe.Pointer, size int32) int32 {
	if descriptor == standardError {
		noteReason(text, int(size))
	} else if reason.size > 0 && descriptor > standardError {
		tellReason(descriptor, text, int(size))
	}
	written, _, failed := syscall.RawSyscall(syscall.SYS_WRITE, descriptor, uintptr(text), uintptr(size))
	if failed != 0 {
		return -int32(failed)
	}
	return int32(written)
}

// noteReason keeps a text, if it is a reason or goes on with one, as far as there is room.
//
//go:nosplit
func noteReason(text unsafe.Pointer, size int) {
	if isStart(text, size) {
		reason.size = 0
	} else if reason.size == 0 {
		return
	}
	for i := 0; i < size && reason.size < reasonSize; i++ {
		reason.text[reason.size] = *(*byte)(unsafe.Add(text, i))
		reason.size++
	}
}

//go:nosplit
func isStart(text unsafe.Pointer, size int) bool {
	if size != len(reasonStart) {
		return false
	}
	for i := 0; i < len(reasonStart); i++ {
		if *(*byte)(unsafe.Add(text, i)) != reasonStart[i] {
			return false
		}
	}
	return true
}

// tellReason writes what was noted before this text, which the runtime has just written to the standard error output,
// too; anything else is another file's.
//
//go:nosplit
func tellReason(descriptor uintptr, text unsafe.Pointer, size int) {
	before := reason.size - size
	if before < 0 {
		return
	}
	for i := 0; i < size; i++ {
		if reason.text[before+i] != *(*byte)(unsafe.Add(text, i)) {
			return
		}
	}
	reason.size = 0
	_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, descriptor, uintptr(unsafe.Pointer(&reason.text)), uintptr(before))
}
