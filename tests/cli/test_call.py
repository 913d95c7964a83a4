"""Would catch: an argument read as another value than was written, a result shown wrongly, an error of many lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from midflight.cli.commands import midflight_command

if TYPE_CHECKING:
    from pathlib import Path

_SOURCE = r"""
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum color { red, green = 5, blue };
struct point { int x, y; };
struct named { char name[8]; struct point at; double weight[2]; uint8_t small; const char *note; enum color color; };
union either { int whole; float real; };
typedef int number;

int add(int a, int b) { return a + b; }
number negate(number value) { return -value; }
uint64_t same(uint64_t value) { return value; }
int8_t tiny(int8_t value) { return value; }
double half(double value) { return value / 2; }
float third(float value) { return value / 4; }
bool not(bool value) { return !value; }
char next(char letter) { return letter + 1; }
unsigned long length(const char *text) { return strlen(text); }
const char *greeting(int which) { return which ? "hello, \"world\"" : 0; }
enum color mixed(enum color one, enum color other) { return one == other ? one : blue; }
int is_null(const int *values) { return values == 0; }
long sum(const int *values, long count) { long s = 0; while (count--) s += *values++; return s; }
double mean(const double *values, long count) {
    double s = 0;
    for (long i = 0; i < count; i++) s += values[i];
    return s / count;
}
void twice(int *values, int count) { while (count--) *values++ *= 2; }
void shout(char *text) { for (; *text; text++) *text -= 32; }
int total(const uint8_t *bytes, int count) { int s = 0; while (count--) s += *bytes++; return s; }
int area(const struct point *corner) { return corner->x * corner->y; }
int path(const struct point *points, int count) { int s = 0; while (count--) s += points++->x; return s; }
void move(struct point *p, int dx) { p->x += dx; }
struct point swapped(struct point p) { struct point q = {p.y, p.x}; return q; }
int described(const struct named *n) {
    printf("%s|%d|%d|%g|%d|", n->name, n->at.x, n->at.y, n->weight[1], n->small);
    printf("%s|%d\n", n->note ? n->note : "-", n->color);
    fflush(stdout);
    return 0;
}
int real(union either e) { return e.whole; }
const char *word(const char **words, int which) { return words[which]; }
int apply(int (*f)(int)) { return f ? f(1) : -1; }
void nothing(void) {}
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("call") / "sample.c"
    path.write_text(_SOURCE, encoding="utf-8")
    return path


def _call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(midflight_command, ["call", *map(str, arguments)])


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ("add 2 3", "5"),
        ("add -2 -3", "-5"),
        ("add 0x10 007", "23"),
        ("negate 1_000", "-1000"),
        ("same 18446744073709551615", "18446744073709551615"),
        ("half 5", "2.5"),
        ("half 1e3", "500.0"),
        ("third -1", "-0.25"),
        ("not true", "false"),
        ("not 0", "true"),
        ("length abc", "3"),
        ("length ''", "0"),
        ("greeting 1", 'hello, "world"'),
        ("greeting 0", "null"),
        ("mixed green green", "green (5)"),
        ("mixed red 5", "blue (6)"),
        ("is_null null", "1"),
        ("is_null 1,2", "0"),
        ("sum 1,2,3 3", "6"),
        ("sum [1,2,3] 2", "3"),
        ("sum 4*7 4", "28"),
        ("mean 1,2.5 2", "1.75"),
        ("twice 1,2,3 2", "values = [2, 4, 3]"),
        ("shout abc", 'text = "ABC"'),
        ("total 255,1 2", "256"),
        ("area {x:3,y:4}", "12"),
        ("area {3,4}", "12"),
        ("area x:3,y:4", "12"),
        ("path {1,0},{2,0},{3,0} 3", "6"),
        ("path [{1,0},{2,0}] 2", "3"),
        ("move {x:1} 4", "p = {x: 5, y: 0}"),
        ("swapped {1,2}", "{x: 2, y: 1}"),
        ("apply null", "-1"),
        ("nothing", ""),
    ],
)
def test_arguments_are_read_by_the_parameters_types(source: Path, words: str, printed: str) -> None:
    name, *texts = ["" if word == "''" else word for word in words.split()]
    result = _call(source, name, *texts)
    assert result.stderr == ""
    assert result.stdout.strip() == printed
    assert result.exit_code == 0


def test_texts_and_characters(source: Path) -> None:
    assert _call(source, "length", "two words").stdout == "9\n"
    assert _call(source, "length", '"quoted\\n"').stdout == "7\n"
    assert int(_call(source, "next", "a").stdout) == ord("b")
    assert int(_call(source, "next", "1").stdout) == 2
    assert _call(source, "word", '"one", "two"', "1").stdout == "two\n"


def test_a_struct_with_everything(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = '{name: "ab", at: {x: 1, y: 2}, weight: [0.5, 1.5], small: 255, note: "n", color: blue}'
    result = _call(source, "described", given)
    assert (result.exit_code, result.stderr) == (0, "")
    assert capfd.readouterr().out == "ab|1|2|1.5|255|n|6\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("ad 2 3", "did you mean add?"),
        ("zzzz", "there is no such function"),
        ("add 2", "add takes 2 arguments, not 1"),
        ("add 2 x", "b: 'x' is no whole number; give a whole number"),
        ("add 2 2.5", "b: '2.5' is no whole number"),
        ("add 2 4294967296", "4294967296"),
        ("tiny 128", "128"),
        ("half x", "value: 'x' is no number"),
        ("not maybe", "value: 'maybe' is neither true nor false"),
        ("mixed purple red", "one: 'purple' is no enum color; give one of red, green, blue"),
        ("sum 1,x 2", "values: 'x' is no whole number"),
        ("sum 1,4294967296 2", "4294967296 doesn't fit int (-2147483648 to 2147483647)"),
        ("total 256 1", "256 doesn't fit"),
        ("total -1 1", "-1 doesn't fit"),
        ("area {x:1,z:2}", "struct point has no member z, but x, y"),
        ("area {1,2,3}", "struct point has 2 members, not 3"),
        ("area {1,", "a value is missing at the end"),
        ("described {name:'much too long'}", "doesn't fit char[8]"),
        ("apply 3", "a function can't be written as text"),
    ],
)
def test_what_is_wrong_is_one_line(source: Path, words: str, told: str) -> None:
    name, *texts = words.split(maxsplit=1)
    result = _call(source, name, *(texts if name == "described" else " ".join(texts).split()))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_build_that_fails_shows_the_compilers_first_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.c"
    path.write_text(
        "int f(void) { return 1; }\nint g(void) { return lost; }\nint h(void) { return y + ; }\n", encoding="utf-8"
    )
    result = _call(path, "f")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{path}:2:")
    assert "lost" in result.stderr
    assert result.stderr.count("\n") == 1


def test_flags_and_header_are_used(tmp_path: Path) -> None:
    path = tmp_path / "plain.c"
    path.write_text("int f(int a) { return a * FACTOR; }\n", encoding="utf-8")
    header = tmp_path / "plain.h"
    header.write_text("int f(int wanted);\n", encoding="utf-8")
    result = CliRunner().invoke(
        midflight_command, ["call", "--flags", "-DFACTOR=7 -O1", "--interface", str(header), str(path), "f", "x"]
    )
    assert "wanted: 'x' is no whole number" in result.stderr
    result = CliRunner().invoke(midflight_command, ["call", "--flags", "-DFACTOR=7 -O1", str(path), "f", "6"])
    assert result.stdout == "42\n"


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    result = _call(tmp_path / "nowhere.c", "f")
    assert result.exit_code == 1
    assert "nowhere.c: there is no such file" in result.stderr


def test_a_cpp_function_is_called_by_its_full_name(tmp_path: Path) -> None:
    path = tmp_path / "overloaded.cpp"
    path.write_text(
        "namespace ns { int f(int a) { return a; } int f(int a, int b) { return a + b; } }\n", encoding="utf-8"
    )
    assert _call(path, "ns::f(int, int)", "2", "3").stdout == "5\n"
    assert _call(path, "ns::f(int)", "2").stdout == "2\n"
