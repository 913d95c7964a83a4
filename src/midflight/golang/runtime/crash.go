//go:build go1.23

package midflightruntime

import (
	"os"
	"runtime/debug"
)

// takeCrashOutput lets the text of a fatal error also go to where the Python program finds it.
func takeCrashOutput() {
	output := os.NewFile(crashDescriptor, "crash")
	if output == nil {
		return
	}
	// Without it the text is on the standard error output all the same.
	if debug.SetCrashOutput(output, debug.CrashOptions{}) == nil {
		overrideWrite = writeThrough
	}
}
