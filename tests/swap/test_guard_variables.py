"""Static variables of C++ functions that are initialised when the function is first called.

Would catch: one that is carried and then initialised again by the new version's first call.
"""

from __future__ import annotations

import midflight

SOURCE = """
static int start(void) { return START; }
template <typename T> struct holder { static inline T value = static_cast<T>(start()); };
inline int &shared(void) { static int count = start(); return count; }
extern "C" {
int next(void) { static int count = start(); return ++count; }
int shared_next(void) { return ++shared(); }
int held(int change) { return holder<int>::value += change; }
}
"""


def _save(directory, start: int):
    path = directory / "counters.cc"
    path.write_text(SOURCE.replace("START", str(start)))
    return path


def test_one_that_is_in_use_goes_on(tmp_path, load) -> None:
    module = load(_save(tmp_path, 10))
    assert (module.next(), module.next(), module.shared_next(), module.held(5)) == (11, 12, 11, 15)
    midflight.swap(module, _save(tmp_path, 500))
    assert (module.next(), module.shared_next(), module.held(1)) == (13, 12, 16)


def test_one_that_nobody_has_used_begins_as_the_new_version_says(tmp_path, load) -> None:
    module = load(_save(tmp_path, 10))
    midflight.swap(module, _save(tmp_path, 500))
    assert (module.next(), module.shared_next(), module.held(0)) == (501, 501, 500)
    midflight.rollback(module)
    assert (module.next(), module.shared_next(), module.held(0)) == (502, 502, 10)
