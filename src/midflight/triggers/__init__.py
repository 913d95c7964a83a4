"""What starts a swap: a saved file, a signal, a timer.  Each of them only asks a module's runner to look."""
