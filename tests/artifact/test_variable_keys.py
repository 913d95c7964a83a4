"""Would catch a variable that is missed, or one whose key is another in the next version, or is shared with another."""

from __future__ import annotations

import subprocess

import pytest

from midflight.artifact.dwarf import reader as dwarf

C = """
int exported; static int hidden; __thread int own;
__attribute__((visibility("hidden"))) int inner;
static int helper(int x) { static int asked; return asked += x; }
int tick(int x) {
    static int count;
    count += x;
    if (x) { static int count; count += x; x += count; }
    { static int count; count += x; x += count; }
    return count + (hidden += helper(x)) + inner++;
}
"""
CPP = """
namespace ns {
    struct counter { static int made; int tick(int x); struct part { static int deep; }; };
    int counter::made = 3;
    int counter::part::deep = 2;
    int counter::tick(int x) { static int count; return count += x; }
    static int hidden;
    namespace { int secret; }
    int shown;
    int use(int x) { static int count; return count += x + ++hidden + ++secret; }
    int use(double x) { static int count; return count += x; }
}
inline int everywhere(int x) { static int count; return count += x; }
template <class T> T twice(T x) { static T last; return last += x; }
template <class T> struct box { static T value; };
template <class T> T box<T>::value;
int all(int x) {
    auto inner = [](int y) { static int within; return within += y; };
    return everywhere(x) + twice(x) + box<int>::value++ + inner(x);
}
"""


def keys(interface):
    found = [variable.key for variable in interface.variables]
    assert len(set(found)) == len(found)
    return set(found)


@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_c(read_library, compiler, level):
    assert keys(read_library(C, level, compiler=compiler, name="game")) == {
        "exported", "game.c:hidden", "own", "inner", "game.c:helper.asked",
        "game.c:tick.count", "game.c:tick.count#2", "game.c:tick.count#3",
    }  # fmt: skip


@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_cpp(read_library, compiler, level):
    found = keys(read_library(CPP, level, compiler=compiler, name="game"))
    assert {key for key in found if "within" not in key} == {
        "ns::counter::made", "ns::counter::part::deep", "game.cc:ns::counter::tick(int).count",
        "game.cc:ns::hidden", "game.cc:ns::(anonymous namespace)::secret", "ns::shown",
        "game.cc:ns::use(int).count", "game.cc:ns::use(double).count",
        "everywhere(int).count", "twice<int>(int).last", "box<int>::value",
    }  # fmt: skip
    assert sum("within" in key for key in found) == 1


def test_variables_of_inner_blocks_are_numbered_as_they_are_declared(read_library):
    numbers = "".join(f"{{ static int n = {value}; x += n++; }}" for value in (11, 22, 33))
    interface = read_library(f"int f(int x) {{ {numbers} return x; }}", "-O2", name="game")
    by_key = {variable.key: variable.address for variable in interface.variables}
    addresses = [by_key["game.c:f.n"], by_key["game.c:f.n#2"], by_key["game.c:f.n#3"]]
    assert len(set(addresses)) == 3


def test_files_of_one_name_are_told_by_more_of_their_path(tmp_path):
    for place in ("near", "far"):
        (tmp_path / place).mkdir()
        text = f"static int count, {place}; int {place}_tick(void) {{ return ++count + ++{place}; }}"
        (tmp_path / place / "part.c").write_text(text)
    command = ["gcc", "-g", "-fPIC", "-shared", "-o", "out.so", "near/part.c", str(tmp_path / "far" / "part.c")]
    subprocess.run(command, check=True, cwd=tmp_path)
    found = keys(dwarf.read((tmp_path / "out.so").read_bytes()))
    assert found == {"near/part.c:count", "far/part.c:count", "part.c:near", "part.c:far"}


def test_rust_and_zig(read_library):
    rust = "static mut COUNT: i32 = 0; pub mod m { pub static mut COUNT: i64 = 1; }"
    body = "unsafe { static mut INNER: i32 = 3; INNER += 1; COUNT += INNER; m::COUNT += 1; COUNT }"
    text = f'{rust} #[no_mangle] pub extern "C" fn tick() -> i32 {{ {body} }}'
    assert keys(read_library(text, compiler="rustc", name="game")) == {
        "game::COUNT", "game::m::COUNT", "game::tick::INNER",
    }  # fmt: skip
    zig = "var count: i32 = 0; export var shown: i32 = 3; export fn tick() i32 { count += 1; return count; }"
    assert keys(read_library(zig, compiler="zig", name="game")) == {"game.zig:count", "shown"}
