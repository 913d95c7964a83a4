"""C++ types as people write them: without the arguments that templates have by default.

``std::map<std::string, int>`` is what its author wrote; debug information has it with a comparison, an allocator and
each string's traits.
"""

from __future__ import annotations

import re

_OPEN, _CLOSE, _COMMA = "\ue000", "\ue001", "\ue002"
"""Stand in for those of templates that are done."""
_INNERMOST = re.compile(r"(?<=\w)<([^<>]*)>")
_BY_DEFAULT = tuple(
    f"std::{name}{_OPEN}" for name in ("allocator", "char_traits", "less", "equal_to", "hash", "default_delete")
)


def plain_types(text: str) -> str:
    """Return a text with the types in it as people write them."""
    before = ""
    while text != before:
        before, text = text, _INNERMOST.sub(_shortened, text)
    text = text.replace(_OPEN, "<").replace(_CLOSE, ">").replace(_COMMA, ", ").replace("std::__cxx11::", "std::")
    return text.replace("std::basic_string<char>", "std::string")


def _shortened(found: re.Match[str]) -> str:
    first, *rest = (part.strip() for part in found[1].split(","))
    kept = [first, *(part for part in rest if not part.startswith(_BY_DEFAULT))]
    return f"{_OPEN}{_COMMA.join(kept)}{_CLOSE}"
