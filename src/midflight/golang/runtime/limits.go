//go:build go1.22

package midflightruntime

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// applyLimits obeys the arguments of the worker, name=number, and hides them from the package.
func applyLimits() error {
	words := os.Args[1:]
	os.Args = os.Args[:1]
	for _, word := range words {
		name, text, _ := strings.Cut(word, "=")
		value, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			return fmt.Errorf("the argument %q isn't known", word)
		}
		switch name {
		case "memory":
			err = limit(syscall.RLIMIT_AS, value+addressSpace())
		case "cpu":
			err = limit(syscall.RLIMIT_CPU, value)
		case "files":
			err = limit(syscall.RLIMIT_NOFILE, value)
		default:
			err = fmt.Errorf("it isn't known")
		}
		if err != nil {
			return fmt.Errorf("the limit %s can't be set: %w", word, err)
		}
	}
	return nil
}

func limit(resource int, value uint64) error {
	return syscall.Setrlimit(resource, &syscall.Rlimit{Cur: value, Max: value})
}

// addressSpace returns what this process has reserved so far: Go reserves much more than it uses.
func addressSpace() uint64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseUint(strings.SplitN(string(data), " ", 2)[0], 10, 63)
	return pages * uint64(os.Getpagesize())
}
