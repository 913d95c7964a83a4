"""Reads debug information in the DWARF format, versions 2 to 5; `reader` makes an interface of it."""
