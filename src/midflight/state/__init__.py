"""How data are moved from one version's layout to another's.

Planned from types only: `layout.Layouts` (what becomes of a type), `match` (which variable is which), `symbols` (where
a pointer into the old image leads in the new one), `shapes` (where pointers are), `renames`, and `forecast`, which
tells it to people.
"""
