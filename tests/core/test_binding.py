"""Catches a core that takes a wrong description of a function for a right one."""

from __future__ import annotations

import ctypes

import pytest

from midflight import _core
from midflight._errors import ArgumentRangeError, ArgumentTypeError, MidflightError
from tests.core.conftest import ADD, param, pointer_to_int, result


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("f",), ("f", 0), ("f", 0, []), (1, 0, [], result()), ("f", "0", [], result()), ("f", 0, 5, result()),
        ("f", 0, [5], result()), ("f", 0, ["ab"], result()), ("f", 0, [("a", "int32")], result()),
        ("f", 0, [(1, *param("a")[1:])], result()), ("f", 0, [param("a", item="too long")], result()),
        ("f", 0, [param("a", size="x")], result()), ("f", 0, [], 5), ("f", 0, [], ("int32",)),
        ("f", 0, [], (1, 2, 3, 4)),
        ("f", 0, [], ("int32", "int", None, None)),
    ],
    ids=repr,
)  # fmt: skip
def test_a_description_of_the_wrong_shape(arguments):
    with pytest.raises((TypeError, ValueError)):
        _core.Binding(*arguments)


@pytest.mark.parametrize("kind", ["int128", "", "INT32", "int32\0", "\udcff", "void", "string"])
def test_a_parameter_of_no_kind(kind):
    with pytest.raises(ValueError, match="kind"):
        _core.Binding("f", 0, [param("a", kind)], result())


@pytest.mark.parametrize("kind", ["int128", "", "int32 "])
def test_a_result_of_no_kind(kind):
    with pytest.raises(ValueError, match="no kind of value"):
        _core.Binding("f", 0, [], result(kind))


def test_structs_by_value_need_somebody_who_passes_them():
    for params, back in (([param("a", "struct")], result()), ([], result("struct"))):
        with pytest.raises(ValueError, match="needs its classes, or `slow`"):
            _core.Binding("f", 0, params, back)
        _core.Binding("f", 0, params, back, slow=print)


def test_options_of_the_wrong_type():
    with pytest.raises(TypeError, match="unusable"):
        _core.Binding("f", 0, [], result(), unusable=5)
    with pytest.raises(TypeError):
        _core.Binding("f", 0, [], result(), nonsense=5)
    with pytest.raises(TypeError):
        _core.Binding("f", 0, [], result(), True)


def test_the_most_parameters():
    _core.Binding("f", 0, [param("a")] * 70, result())
    with pytest.raises(ValueError, match="too many parameters"):
        _core.Binding("f", 0, [param("a")] * 71, result())


def test_bindings_are_immutable():
    binding = _core.Binding("f", 0, ADD, result())
    with pytest.raises((AttributeError, TypeError)):
        binding.address = 5  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        type("Mine", (_core.Binding,), {})


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [("int8", -128, -128), ("uint8", 255, 255), ("int64", -(2**63), -(2**63)), ("uint64", 2**64 - 1, 2**64 - 1),
     ("bool", True, True), ("float64", 1, 1.0), ("float32", 0.5, 0.5)],
)  # fmt: skip
def test_convert_numbers(kind, value, expected):
    number, keep = _core.Binding("f", 0, [param("a", kind)], result()).convert(0, value)
    assert number == expected
    assert type(number) is type(expected)
    assert keep is None


def test_convert_pointers():
    binding = _core.Binding("f", 0, [pointer_to_int("a")], result())
    number = ctypes.c_int(5)
    address, keep = binding.convert(0, number)
    assert address == ctypes.addressof(number)
    assert isinstance(keep, memoryview)
    assert binding.convert(0, None) == (0, None)
    data = bytearray(4)
    void = _core.Binding("f", 0, [param("a", "pointer")], result())
    _, keep = void.convert(0, data)
    with pytest.raises(BufferError):
        data.append(1)
    keep.release()
    data.append(1)


def test_convert_refuses():
    binding = _core.Binding(
        "lib.f", 0, [param("a", "int8"), pointer_to_int("b"), param("c", "struct")], result(), slow=print
    )
    with pytest.raises(ArgumentRangeError, match=r"lib\.f: parameter 'a'"):
        binding.convert(0, 128)
    with pytest.raises(ArgumentTypeError, match=r"lib\.f: parameter 'b'"):
        binding.convert(1, b"1234")
    with pytest.raises(ValueError, match="isn't converted"):
        binding.convert(2, None)
    for index in (-1, 3, 2**62):
        with pytest.raises(IndexError):
            binding.convert(index, 0)
    with pytest.raises(TypeError):
        binding.convert("0", 0)  # type: ignore[arg-type]


def test_results_from_numbers():
    table = _core.Table("1", [])

    def back(kind, value, extra=None):
        return _core.Binding("f", 0, [], result(kind, extra)).result_from(table, value)

    assert back("void", 5) is None
    assert back("bool", 256) is False
    assert back("int8", 0x1FF) == -1
    assert back("uint8", 0x1FF) == 255
    assert back("int16", 0xFFFF) == -1
    assert back("uint64", 2**64 - 1) == 2**64 - 1
    assert back("int32", 7, {7: "seven"}) == "seven"
    assert back("int32", 8, {7: "seven"}) == 8
    assert back("pointer", 0) is None
    assert back("pointer", 4096).address == 4096
    text = ctypes.create_string_buffer("größe \udcff".encode("utf-8", "surrogateescape"))
    assert back("string", ctypes.addressof(text)) == "größe \udcff"
    assert back("string", 0) is None
    for kind in ("float32", "float64"):
        with pytest.raises(ValueError, match="no integer"):
            back(kind, 0)
    with pytest.raises(TypeError):
        _core.Binding("f", 0, [], result()).result_from(None, 0)  # type: ignore[arg-type]


def test_misfit_answers(library):
    """What ``misfit`` says, raises or returns decides about ctypes classes that aren't ``extra``."""
    one = (ctypes.c_int * 2)(3)
    answers = []

    def misfit(given):
        answers.append(given)
        answer = answers_to_give.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    params = [pointer_to_int("p", item="r", size=8, extra=ctypes.c_double, misfit=misfit)]
    function, table = library.function("first", params)

    class Two(ctypes.Structure):
        _fields_ = (("a", ctypes.c_int), ("b", ctypes.c_int))

    answers_to_give = [None, "too wide", KeyError("mine"), 5]
    assert function(Two(9, 1)) == 9
    with pytest.raises(ArgumentTypeError, match="too wide"):
        function(Two())
    with pytest.raises(KeyError, match="mine"):
        function(Two())
    with pytest.raises(TypeError):
        function(Two())
    assert answers == [Two] * 4
    with pytest.raises(MidflightError, match="format"):
        function(one)
    assert table.inside == 0
