//go:build go1.22 && !go1.23

package midflightruntime

// takeCrashOutput does nothing: this Go can write the text of a fatal error to the standard error output only.
func takeCrashOutput() {}
