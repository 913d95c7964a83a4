"""The command line: `midflight run`, `repl`, `call`, `stub` and `demo`."""
