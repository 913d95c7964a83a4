"""Would catch Rust and Zig functions and types that are read wrongly, and a runtime taken for the user's code."""

from __future__ import annotations

from midflight.artifact.interface import Enum, Pointer, Record, Scalar, Signature, Unsupported

RUST = """
#[repr(C)] pub struct Point { x: i32, y: f64 }
#[repr(C)] pub enum Mode { A, B = 7 }
#[no_mangle] pub static mut SPEED: i32 = 3;
static mut HIDDEN: i64 = 9;
#[no_mangle] pub extern "C" fn add(a: i32, b: i32) -> i32 { unsafe { HIDDEN += 1 }; a + b }
#[no_mangle] pub extern "C" fn norm(p: *const Point) -> f64 { unsafe { (*p).x as f64 + (*p).y } }
#[no_mangle] pub extern "C" fn grow(p: *mut Point, q: &mut Point, r: &Point) { unsafe { (*p).x += q.x + r.x } }
#[no_mangle] pub extern "C" fn call(f: Option<extern "C" fn(i32) -> i32>, n: usize) -> i32 {
    f.map_or(0, |f| f(n as i32))
}
#[no_mangle] pub extern "C" fn mode(m: Mode, ok: bool, c: char) -> Mode { if ok && c == 'x' { Mode::A } else { m } }
#[no_mangle] pub extern "C" fn maybe(x: Option<i32>) -> i32 { x.unwrap_or(0) }
pub fn mangled(x: i32) -> i32 { x }
"""

ZIG = """
const Point = extern struct { x: i32, y: f64 };
const Mode = enum(c_int) { slow, fast = 7 };
export var speed: i32 = 3;
var hidden: i64 = 4;
export fn add(a: i32, b: i32) i32 { hidden += 1; return a +% b; }
export fn norm(p: *const Point) f64 { return p.y; }
export fn grow(p: *Point, m: Mode) void { p.x = @intFromEnum(m); }
export fn first(s: [*:0]const u8) u8 { return s[0]; }
"""


def functions(interface):
    return {function.name: function for function in interface.functions}


def test_rust(read_library):
    interface = read_library(RUST, compiler="rustc")
    found = functions(interface)
    assert interface.language == "rust"
    assert set(found) == {"add", "norm", "grow", "call", "mode", "maybe"}
    assert [param.name for param in found["add"].params] == ["a", "b"]
    assert interface.strip(found["add"].result) == Scalar("i32", "int", 4)
    grow = [interface.strip(param.type) for param in found["grow"].params]
    assert [pointer.const for pointer in grow] == [False, False, True]
    norm = interface.strip(found["norm"].params[0].type)
    assert norm.const
    point = interface.types[norm.target]
    assert (point.name, point.size, [(field.name, field.offset) for field in point.fields]) == (
        "lib::Point", 16, [("x", 0), ("y", 8)],
    )  # fmt: skip
    assert interface.strip(found["mode"].params[0].type) == Enum(
        "lib::Mode", 4, signed=False, items=(("A", 0), ("B", 7))
    )
    assert interface.strip(found["mode"].params[1].type) == Scalar("bool", "bool", 1)
    assert interface.strip(found["mode"].params[2].type) == Scalar("char", "uint", 4)


def test_rust_option_of_a_function_is_a_pointer(read_library):
    interface = read_library(RUST, compiler="rustc")
    found = functions(interface)
    pointer = interface.strip(found["call"].params[0].type)
    assert isinstance(pointer, Pointer)
    assert isinstance(interface.types[pointer.target], Signature)
    assert isinstance(interface.strip(found["maybe"].params[0].type), Unsupported)


def test_rust_variables_are_the_crate_s_own(read_library):
    interface = read_library(RUST, compiler="rustc")
    assert {(variable.name, variable.exported) for variable in interface.variables} == {
        ("SPEED", True),
        ("HIDDEN", False),
    }


def test_zig(read_library):
    interface = read_library(ZIG, compiler="zig")
    found = functions(interface)
    assert interface.language == "zig"
    assert set(found) == {"add", "norm", "grow", "first"}
    assert [param.name for param in found["add"].params] == ["a", "b"]
    norm = interface.strip(found["norm"].params[0].type)
    assert norm.const
    point = interface.types[norm.target]
    assert isinstance(point, Record)
    assert [(field.name, field.offset) for field in point.fields] == [("x", 0), ("y", 8)]
    assert not interface.strip(found["grow"].params[0].type).const
    assert interface.strip(found["grow"].params[1].type).items == (("slow", 0), ("fast", 7))
    assert interface.strip(found["first"].params[0].type).const
    assert {variable.name for variable in interface.variables} == {"speed", "hidden"}
