"""What two interfaces' types mean to each other: which are the same, and which a pointer may go on pointing to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight.artifact.interface import (
    Array,
    Enum,
    Foreign,
    Pointer,
    Record,
    Scalar,
    Signature,
    Typedef,
    Unsupported,
    Void,
)
from midflight.state.renames import bare

if TYPE_CHECKING:
    from midflight.artifact.interface import Field, Interface, Type, TypeId
    from midflight.state.renames import Renames

_DEEPEST = 16
_ADDRESSES = frozenset({"uintptr_t", "intptr_t", "std::uintptr_t", "std::intptr_t"})
_LOCKS = {
    "pthread_mutex_t": 1, "mtx_t": 1, "std::mutex": 1, "std::recursive_mutex": 1, "std::timed_mutex": 1,
    "std::recursive_timed_mutex": 1,
    "pthread_rwlock_t": 2, "std::shared_mutex": 2, "std::shared_timed_mutex": 2,
    "pthread_cond_t": 3, "cnd_t": 3, "std::condition_variable": 3,
    "sem_t": 4, "pthread_barrier_t": 4, "pthread_once_t": 4, "once_flag": 4, "std::once_flag": 4,
}  # fmt: skip


class Names:
    """What the types of one interface are called, also those that only a typedef names."""

    def __init__(self, interface: Interface) -> None:
        self.interface = interface
        self._typedefs: dict[TypeId, str] = {}
        for found in interface.types:
            if isinstance(found, Typedef):
                self._typedefs.setdefault(found.target, found.name)

    def behind(self, type_id: TypeId) -> TypeId:
        """Return the number of the type behind all typedefs."""
        found = self.interface.types[type_id]
        while isinstance(found, Typedef):
            type_id = found.target
            found = self.interface.types[type_id]
        return type_id

    def names(self, type_id: TypeId) -> tuple[str, ...]:
        """Return all names of a type: of its typedefs, and its own."""
        result = []
        found = self.interface.types[type_id]
        while isinstance(found, Typedef):
            result.append(found.name)
            found = self.interface.types[found.target]
        own = getattr(found, "name", "")
        return (*result, own) if own else tuple(result)

    def name(self, type_id: TypeId) -> str:
        """Return a record's or enum's name without its keyword; of one without a name, its typedef's."""
        inner = self.behind(type_id)
        found = self.interface.types[inner]
        own = found.name if isinstance(found, (Record, Enum)) else ""
        return bare(own or self._typedefs.get(inner, ""))

    def spell(self, type_id: TypeId, other: str = "") -> str:
        """Return a type as people write it; where another is spelled the same, with what it is."""
        text = self.interface.spell(type_id)
        if text == other and isinstance(self.interface.types[type_id], Typedef):
            return f"{text} ({self.interface.spell(self.behind(type_id))})"
        return text

    def lock(self, type_id: TypeId) -> int:
        """Return which kind of lock a type is, 0 if it is none."""
        return next((_LOCKS[name] for name in self.names(type_id) if name in _LOCKS), 0)

    def holds_address(self, type_id: TypeId) -> bool:
        """Tell whether an integer is declared as one that may hold an address."""
        return any(name in _ADDRESSES for name in self.names(type_id))


class Sameness:
    """Compares an old interface's types with a new one's."""

    def __init__(self, old: Names, new: Names, renames: Renames) -> None:
        self._old = old
        self._new = new
        self._renames = renames
        self._known: dict[tuple[TypeId, TypeId], bool] = {}

    def identical(self, old: TypeId, new: TypeId) -> bool:
        """Tell whether two types have the same layout and meaning all the way down, pointers' targets by name."""
        pair = self._old.behind(old), self._new.behind(new)
        known = self._known.get(pair)
        if known is None:
            # Pointers are compared by name: only what has none can lead back to itself, and is not carried as it is.
            self._known[pair] = False
            known = self._known[pair] = self._identical(*pair)
        return known and self._old.lock(old) == self._new.lock(new)

    def _identical(self, old: TypeId, new: TypeId) -> bool:
        before, after = self._old.interface.types[old], self._new.interface.types[new]
        match before, after:
            case Scalar(), Scalar():
                return (before.kind, before.size) == (after.kind, after.size)
            case Pointer(), Pointer():
                return self.same_target(before.target, after.target)
            case Array(), Array():
                return before.count == after.count and self.identical(before.element, after.element)
            case Record(), Record():
                return self.same_name(old, new) and self._same_layout(self._old.name(old), before, after)
            case Enum(), Enum():
                kept = set(before.items) <= set(after.items)
                return kept and (before.size, before.signed) == (after.size, after.signed)
            case (Unsupported(), Unsupported()) | (Foreign(), Foreign()):
                return before == after
        return isinstance(before, Void) and isinstance(after, Void)

    def same_name(self, old: TypeId, new: TypeId) -> bool:
        """Tell whether two records or enums go by the same name; one without a name goes by any."""
        was, now = self._old.name(old), self._new.name(new)
        return not was or not now or self._renames.type_of(was) == now

    def _same_layout(self, name: str, old: Record, new: Record) -> bool:
        return (
            (old.kind, old.size, old.trivial, len(old.fields)) == (new.kind, new.size, new.trivial, len(new.fields))
            and old.size is not None
            and all(self._same_field(name, one, other) for one, other in zip(old.fields, new.fields, strict=True))
        )

    def _same_field(self, record: str, old: Field, new: Field) -> bool:
        return (
            (old.offset, old.bit_size, old.bit_offset) == (new.offset, new.bit_size, new.bit_offset)
            and self._renames.field_of(record, old.name) == new.name
            and self.identical(old.type, new.type)
        )

    def same_target(self, old: TypeId, new: TypeId, depth: int = 0) -> bool:
        """Tell whether a pointer points to the same type in both, by name."""
        old, new = self._old.behind(old), self._new.behind(new)
        before, after = self._old.interface.types[old], self._new.interface.types[new]
        if depth > _DEEPEST:
            return True
        match before, after:
            case Pointer(), Pointer():
                return self.same_target(before.target, after.target, depth + 1)
            case Array(), Array():
                return before.count == after.count and self.same_target(before.element, after.element, depth + 1)
            case (Record(), Record()) | (Enum(), Enum()):
                named = self._old.name(old) or self._new.name(new)
                return self.same_name(old, new) if named else self.identical(old, new)
            case Scalar(), Scalar():
                return (before.kind, before.size) == (after.kind, after.size)
            case Signature(), Signature():
                return self._same_signature(before, after, depth)
            case (Unsupported() as one, Unsupported() as other) | (Foreign() as one, Foreign() as other):
                return one.name == other.name
        return isinstance(before, Void) and isinstance(after, Void)

    def _same_signature(self, old: Signature, new: Signature, depth: int) -> bool:
        return (
            len(old.params) == len(new.params)
            and old.variadic == new.variadic
            and self.same_target(old.result, new.result, depth + 1)
            and all(self.same_target(a, b, depth + 1) for a, b in zip(old.params, new.params, strict=True))
        )

    def may_point(self, old: TypeId, new: TypeId) -> bool:
        """Tell whether a pointer to one may be carried as a pointer to the other."""
        if self.same_target(old, new) or self._says_nothing(self._old, old) or self._says_nothing(self._new, new):
            return True
        before, after = self._old.interface.strip(old), self._new.interface.strip(new)
        if isinstance(before, Record) and isinstance(after, Record):
            return False
        if isinstance(before, Signature) and isinstance(after, Signature):
            return True
        if isinstance(before, Pointer) and isinstance(after, Pointer):
            return self.may_point(before.target, after.target)
        # A typedef that is another number now: what it points to is moved by the same name.
        one, other = self._old.interface.types[old], self._new.interface.types[new]
        return isinstance(one, Typedef) and isinstance(other, Typedef) and one.name == other.name

    def _says_nothing(self, names: Names, type_id: TypeId) -> bool:
        found: Type = names.interface.strip(type_id)
        if isinstance(found, Record):
            return found.size is None
        return isinstance(found, Void) or (isinstance(found, Scalar) and found.size == 1)
