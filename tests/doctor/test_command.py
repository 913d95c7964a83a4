"""The command: its exit codes, its JSON, its report.

Would catch: an exit code that means two things, JSON that isn't as its schema says, a traceback for any file at all, a
report that can't be read at 80 columns or without colours.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest

import midflight

if TYPE_CHECKING:
    from tests.conftest import Workshop
    from tests.talking import Run

SCHEMA = Path(__file__).parents[2] / "docs/doctor.schema.json"
PLAIN = """
#include <stdio.h>
struct player { int id; float x; };
static struct player players[8];
static int ticks;
int tick(int by) { players[ticks & 7].id++; return ticks += by; }
void show(const char *text) { puts(text); }
"""
PINNED = """
struct K { int n; ~K(); };
K::~K() { n = 0; }
static thread_local K k;
extern "C" int touch() { return k.n++; }
"""
LIBRARIES = {
    "plain": (PLAIN, (), ".c", 0),
    "pinned": (PINNED, (), ".cc", 1),
    "nodelete": (PLAIN, ("-Wl,-z,nodelete",), ".c", 2),
    "missing": ("extern int gone; int get(void) { return gone; }", (), ".c", 3),
    "stripped": (PLAIN, ("-s",), ".c", 0),
}  # fmt: skip


@pytest.mark.parametrize("name", LIBRARIES)
def test_exit_codes_and_json(name: str, workshop: Workshop, command: Run) -> None:
    text, flags, suffix, code = LIBRARIES[name]
    library = workshop.library(name, text, *flags, suffix=suffix)
    done = command("doctor", "--json", library)
    assert (done.returncode, done.stderr) == (code, "")
    told = json.loads(done.stdout)
    jsonschema.validate(told, json.loads(SCHEMA.read_text()))
    assert told["path"] == str(library)
    assert command("doctor", library).returncode == code


def test_the_schema_is_that_of_the_documentation(command: Run) -> None:
    done = command("doctor", "--schema")
    assert json.loads(done.stdout) == json.loads(SCHEMA.read_text()), (
        "midflight doctor --schema > docs/doctor.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(json.loads(done.stdout))


def test_what_has_no_verdict_is_exit_code_4(workshop: Workshop, command: Run) -> None:
    broken = workshop.write("broken.c", "int f(void) { return")
    for arguments in (("nowhere.so",), ("--bogus",), (), (workshop.root,), (broken,), ("a", "b")):
        done = command("doctor", *arguments)
        assert done.returncode == 4, arguments
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
    assert "there is no such file" in command("doctor", "nowhere.so").stderr


def test_a_source_is_built(workshop: Workshop, command: Run) -> None:
    told = json.loads(command("doctor", "--json", workshop.write("calc.c", PLAIN)).stdout)
    assert [one["declaration"] for one in told["exports"]["functions"]] == [
        "int tick(int by)",
        "void show(const char *text)",
    ]


def test_the_report_fits_80_columns(workshop: Workshop, command: Run) -> None:
    library = workshop.library("report", PLAIN, "-Wl,-z,nodelete,-z,execstack")
    done = command("doctor", library.name)
    lines = done.stdout.splitlines()
    assert lines[0] == "report.so: needs a worker"
    assert max(map(len, lines)) <= 80
    assert not any(line.endswith(" ") for line in lines)
    words = " ".join(done.stdout.split())
    for said in ("To mend it: link it without -z nodelete.", "[executable-stack]", "int tick(int by)",
                 "players struct player[8] 64 carried", "libc.so.6", "RELRO"):  # fmt: skip
        assert said in words


def test_long_lists_are_cut_short_unless_all_is_asked_for(workshop: Workshop, command: Run) -> None:
    library = workshop.library("many", "".join(f"int f{n}(int a) {{ return a + {n}; }}\n" for n in range(30)))
    short, whole = command("doctor", library).stdout, command("doctor", "--all", library).stdout
    assert "and 22 more (--all)" in short
    assert "f29" not in short
    assert "int f29(int a)" in whole


def test_names_in_a_hostile_file_write_nothing_to_the_terminal(workshop: Workshop, command: Run) -> None:
    library = workshop.library("evil", "int evil_name(void) { return 1; }")
    library.write_bytes(library.read_bytes().replace(b"evil_name", b"\x1b[31mred\x07"))
    done = command("doctor", "--all", library)
    assert done.returncode == 0
    assert "\033" not in done.stdout
    assert "\007" not in done.stdout


def test_a_path_of_any_bytes(workshop: Workshop) -> None:
    library = workshop.library("plain", PLAIN)
    odd = Path(str(workshop.root) + "/na\udcefve \udcff.so")
    shutil.copy(library, odd)
    assert json.loads(midflight_json(midflight.inspect(odd)))["verdict"] == "swappable"


def midflight_json(found: midflight.Inspection) -> str:
    from midflight.cli.doctor import as_json

    return as_json(found)
