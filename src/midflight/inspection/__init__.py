"""Judges a library by its file: what a swap would do with it, what stands in the way, and how to mend that.

`examine` makes an `Inspection` of bytes; `hosting` is what lanes are chosen by, the same rules.  Nothing is loaded.
"""
