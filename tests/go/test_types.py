"""A value that changes on its way to Go or back, that is refused though it fits, or taken though it doesn't."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import midflight
from midflight import ArgumentRangeError, ArgumentTypeError
from midflight.lanes.go import GoError

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = """
package types

import "errors"

type Point struct{ X, Y int32 }
type Person struct {
	Name    string
	Age     int8
	Tags    []string
	Home    Point
	Friends map[string]*Person
	Boss    *Person
	Extra   any
}
type Celsius float64
func (c Celsius) Fahrenheit() float64 { return float64(c)*9/5 + 32 }
type Names []string
func (n Names) First() string { return n[0] }

func Bool(x bool) bool { return x }
func Int(x int) int { return x }
func Int8(x int8) int8 { return x }
func Int16(x int16) int16 { return x }
func Int32(x int32) int32 { return x }
func Int64(x int64) int64 { return x }
func Uint(x uint) uint { return x }
func Uint8(x uint8) uint8 { return x }
func Uint16(x uint16) uint16 { return x }
func Uint32(x uint32) uint32 { return x }
func Uint64(x uint64) uint64 { return x }
func Float32(x float32) float32 { return x }
func Float64(x float64) float64 { return x }
func Complex(x complex128) complex128 { return x }
func String(x string) string { return x }
func Length(x string) int { return len(x) }
func Raw(x []byte) string { return string(x) }
func Bytes(x []byte) []byte { return x }
func IsNilBytes(x []byte) bool { return x == nil }
func Strings(x []string) []string { return x }
func IsNilStrings(x []string) bool { return x == nil }
func Nested(x [][]int) [][]int { return x }
func Array(x [3]int16) [3]int16 { return x }
func Digest(x [4]byte) [4]byte { return x }
func Map(x map[string]int) map[string]int { return x }
func IsNilMap(x map[string]int) bool { return x == nil }
func IntKeys(x map[int8]bool) map[int8]bool { return x }
func StructKeys(x map[Point]string) map[Point]string { return x }
func ArrayKeys(x map[[2]int]string) map[[2]int]string { return x }
func Struct(x Person) Person { return x }
func Pointer(x *Person) *Person { return x }
func Rename(x *Person) { x.Name = "renamed"; x.Tags = append(x.Tags, "new") }
func Number(x *int) *int { return x }
func Any(x any) any { return x }
func Anys(x []any) []any { return x }
func Temperature(x Celsius) Celsius { return x }
func People(x Names) Names { return x }
func Error(x error) error { return nil }
func Text(x error) string { if x == nil { return "nil" }; return x.Error() }
func Errors() []error { return []error{errors.New("one"), nil} }
func Two(a int, b string) (string, int) { return b, a }
func Three() (a int, b bool, err error) { return 1, true, nil }
func Nothing() {}
func Sum(first int, rest ...int) int { for _, x := range rest { first += x }; return first }
func Anonymous(x struct{ A, B int }) int { return x.A + x.B }
func Keywords(from, in, class int) int { return from*100 + in*10 + class }
func Blank(_ int, _ string) {}
func Count(x map[int]string) int { return len(x) }
func Many(n int) map[int]string { m := map[int]string{}; for i := range n { m[i] = "v" }; return m }
func Deep(n int) *Person { var p *Person; for range n { p = &Person{Boss: p} }; return p }
func Cycle() *Person { p := &Person{}; p.Boss = p; return p }
"""


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The package."""
    path = tmp_path_factory.mktemp("types") / "types.go"
    path.write_text(SOURCE)
    module = midflight.load(path)
    yield module
    midflight.unload(module)


def limits(bits: int, *, signed: bool) -> tuple[int, int]:
    """The least and the greatest number of a type."""
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


INTEGERS = [
    (f"{kind}{bits or ''}", bits or 64, kind == "Int") for kind in ("Int", "Uint") for bits in (0, 8, 16, 32, 64)
]


@pytest.mark.parametrize(("name", "bits", "signed"), INTEGERS)
def test_integers_keep_their_value_at_the_edges_and_are_refused_beyond(types: Any, name: str, bits: int, signed: bool):
    low, high = limits(bits, signed=signed)
    function = getattr(types, name)
    for value in (low, low + 1, 0, 1, high - 1, high):
        assert function(value) == value
    for value in (low - 1, high + 1, 1 << 200):
        with pytest.raises(ArgumentRangeError, match=r"parameter x: -?\d+ doesn't fit"):
            function(value)
    for value in ("1", 1.0, None, [1]):
        with pytest.raises(ArgumentTypeError, match="parameter x"):
            function(value)


@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 1 << 60])
def test_floats_keep_their_value(types: Any, value: float):
    result = types.Float64(value)
    assert (result, math.copysign(1, result)) == (value, math.copysign(1, value))


def test_what_floats_are_refused_and_what_is_not_a_number(types: Any):
    assert math.isnan(types.Float64(math.nan))
    assert types.Float32(1.5) == 1.5
    assert types.Float32(math.inf) == math.inf
    assert types.Complex(1 - 2j) == 1 - 2j
    with pytest.raises(ArgumentRangeError, match="parameter x: 1e\\+39 doesn't fit float32"):
        types.Float32(1e39)
    with pytest.raises(ArgumentRangeError, match="doesn't fit float64"):
        types.Float64(1 << 2000)
    with pytest.raises(ArgumentTypeError, match="a float is expected, not str"):
        types.Float64("1")


@pytest.mark.parametrize("value", ["", "plain", "größer", "日本語", "😀", "a\0b", "\ufeff", "x" * 100_000])
def test_strings_keep_their_text(types: Any, value: str):
    assert types.String(value) == value
    assert types.Length(value) == len(value.encode())


def test_bytes_that_are_not_utf_8_travel_as_surrogate_escapes(types: Any):
    text = types.Raw(b"a\xff\xfe\xc3")
    assert text == b"a\xff\xfe\xc3".decode("utf-8", "surrogateescape")
    assert types.String(text) == text
    assert types.Length(text) == 4
    with pytest.raises(ArgumentTypeError, match="half of a surrogate pair"):
        types.String("\ud800")


def test_bytes_come_from_any_buffer(types: Any):
    import array

    assert types.Bytes(b"\0\xff") == b"\0\xff"
    assert types.Bytes(bytearray(b"ab")) == b"ab"
    assert types.Bytes(memoryview(b"abcd")[::2]) == b"ac"
    assert types.Bytes(array.array("B", [1, 2])) == b"\1\2"
    with pytest.raises(ArgumentTypeError, match="bytes are expected, not str"):
        types.Bytes("text")


def test_nil_and_empty_differ_for_go_and_read_alike_from_it(types: Any):
    assert types.IsNilBytes(None) is True
    assert types.IsNilBytes(b"") is False
    assert types.IsNilStrings(None) is True
    assert types.IsNilStrings([]) is False
    assert types.IsNilMap(None) is True
    assert types.IsNilMap({}) is False
    assert types.Bytes(None) == b""
    assert types.Strings(None) == []
    assert types.Map(None) == {}
    assert types.Pointer(None) is None
    assert types.Number(None) is None
    assert types.Any(None) is None
    assert types.Text(None) == "nil"


def test_containers(types: Any):
    assert types.Nested([[1], [], [2, 3]]) == [[1], [], [2, 3]]
    assert types.Strings(("a", "b")) == ["a", "b"]
    assert types.Array([1, 2, 3]) == (1, 2, 3)
    assert types.Digest(b"abcd") == b"abcd"
    assert types.Map({"a": 1, "ü": -1}) == {"a": 1, "ü": -1}
    assert types.IntKeys({-128: True, 127: False}) == {-128: True, 127: False}
    assert types.ArrayKeys({(1, 2): "x"}) == {(1, 2): "x"}
    point = types.Point(1, 2)
    assert types.StructKeys({point: "p"}) == {point: "p"}
    assert types.Number(7) == 7


@pytest.mark.parametrize(
    ("function", "value", "what"),
    [
        ("Array", [1, 2], "parameter x: 3 elements are expected, not 2"),
        ("Array", [1, 2, 1 << 20], r"parameter x\[2\]: 1048576 doesn't fit int16"),
        ("Digest", b"abc", "4 bytes are expected, not 3"),
        ("Nested", [[1], ["x"]], r"parameter x\[1\]\[0\]: int is expected, not str"),
        ("Strings", "text", r"a list for \[\]string is expected, not str"),
        ("Map", {"a": "b"}, r"parameter x\['a'\]: int is expected"),
        ("Map", [("a", 1)], "a dict for .* is expected, not list"),
        ("Bool", 1, "a bool is expected, not int"),
        ("Struct", {"Nmae": "x"}, "Person has no field 'Nmae'; it has Name"),
        ("Struct", {"Home": {"X": "a"}}, r"parameter x\.Home\.X: int32 is expected, not str"),
        ("Struct", 3, "int isn't Person"),
        ("Any", object(), "object has no meaning in Go"),
    ],
)
def test_refusals_say_where_it_does_not_fit(types: Any, function: str, value: object, what: str):
    with pytest.raises((ArgumentTypeError, ArgumentRangeError), match=what):
        getattr(types, function)(value)


def test_structs_are_objects_of_their_own_classes(types: Any):
    boss = types.Person("Ada", 36)
    person = types.Person("Bob", Tags=["x"], Home=types.Point(1, -1), Friends={"a": boss, "nobody": None}, Boss=boss)
    again = types.Struct(person)
    assert again == person
    assert type(again) is types.Person
    assert again.Friends["a"].Name == "Ada"
    assert again.Boss.Boss is None
    assert types.Struct({"Name": "C", "Home": {"Y": 5}}).Home == types.Point(0, 5)
    assert types.Person() == types.Struct({})
    assert types.Pointer(person) == person
    assert midflight.types(types).Point is types.Point


def test_go_changes_what_it_is_given_a_pointer_to(types: Any):
    person = types.Person("Bob", Tags=["old"])
    types.Rename(person)
    assert (person.Name, person.Tags) == ("renamed", ["old", "new"])
    fields = {"Name": "Carol"}
    types.Rename(fields)
    assert fields["Name"] == "renamed"


def test_named_types_with_methods_are_numbers_and_lists_with_methods(types: Any):
    warm = types.Temperature(25)
    assert warm == 25.0
    assert isinstance(warm, float)
    assert warm.Fahrenheit() == 77.0
    assert types.Celsius(100).Fahrenheit() == 212.0
    names = types.People(["a", "b"])
    assert names == ["a", "b"]
    assert names.First() == "a"


@pytest.mark.parametrize(
    "value", [None, True, 1, -1, 1 << 63, 1.5, "text", b"bytes", [1, "a", None], {"a": [1]}, {1: 2}, [[{"a": b"b"}]]]
)
def test_any_takes_what_has_a_meaning(types: Any, value: object):
    assert types.Any(value) == value
    assert types.Anys([value, value]) == [value, value]


def test_any_keeps_the_type_of_what_has_one(types: Any):
    point = types.Point(1, 2)
    assert types.Any(point) == point
    assert type(types.Any(types.Celsius(3))) is types.Celsius
    assert types.Struct(types.Person(Extra=point)).Extra == point


def test_errors_as_values(types: Any):
    assert types.Text(GoError("late")) == "late"
    assert types.Text(ValueError("bad")) == "ValueError: bad"
    assert types.Errors() == [GoError("one", type_name="*errors.errorString"), None]


def test_results_and_parameters(types: Any):
    assert types.Two(1, "b") == ("b", 1)
    assert types.Two(b="b", a=1) == ("b", 1)
    assert types.Three() == (1, True)
    assert types.Nothing() is None
    assert types.Sum(1) == 1
    assert types.Sum(1, 2, 3) == 6
    assert types.Anonymous({"A": 1, "B": 2}) == 3
    assert types.Keywords(from_=1, in_=2, class_=3) == 123
    assert types.Blank(1, "x") is None
    with pytest.raises(ArgumentTypeError, match="missing a required argument: 'b'"):
        types.Two(1)
    with pytest.raises(ArgumentTypeError, match="too many positional arguments"):
        types.Nothing(1)
    with pytest.raises(ArgumentTypeError, match=r"parameter rest\[1\]: int is expected"):
        types.Sum(1, 2, "x")


def test_a_map_of_100000_entries(types: Any):
    assert types.Count(dict.fromkeys(range(100_000), "v")) == 100_000
    assert types.Many(100_000) == dict.fromkeys(range(100_000), "v")


def test_deep_and_cyclic_values_are_refused_not_followed_for_ever(types: Any):
    depth, person = 0, types.Deep(90)
    while person is not None:
        depth, person = depth + 1, person.Boss
    assert depth == 90
    with pytest.raises(ArgumentTypeError, match=r"nested (more than 200|too) deep, or contains itself"):
        types.Cycle()
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ArgumentTypeError, match=r"nested (more than 200|too) deep, or contains itself"):
        types.Any(loop)
    assert types.Int(1) == 1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
RELAXED = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@RELAXED
@given(value=JSON)
def test_whatever_any_takes_comes_back(types: Any, value: object):
    assert types.Any(value) == value


@RELAXED
@given(value=st.binary())
def test_every_string_of_bytes_comes_back(types: Any, value: bytes):
    text = types.Raw(value)
    assert text.encode("utf-8", "surrogateescape") == value
    assert types.String(text) == text
