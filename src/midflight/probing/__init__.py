"""Trying a version in a throwaway process, before it runs in the program.

`pool` keeps one process ready, `process` is the program's end of one, `protocol` what the two say to each other,
`job` and `travel` put together what the process is to do, `verdict` and `replay` judge what came of it.  `main`,
`candidate`, `trials` and `stand_ins` run in the process.
"""
