"""Would catch a kind of change that gets no row or the wrong mark, and a file that gets rows where it has no answer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.talking import Run  # noqa: TC001 - pytest reads the annotations

OLD = """
enum color {RED, GREEN = 2}; enum mode {FAST, SLOW}; typedef int (*callback)(int why);
struct player {int x, y; short hp; unsigned alive : 1, armed : 1;};
int ticks; static int best;
int spawn(struct player *p, enum color c) {return p->x + c;}
int move(struct player *p, int dx, int dy) {p->x += dx; p->y += dy; return ++ticks;}
int each(callback f) {return f(best++);}
void set_mode(enum mode m) {best = m;}
double score(void) {return 1.5;}
"""
NEW = """
enum color {RED, GREEN = 2, BLUE}; enum mode {SLOW, FAST}; typedef int (*callback)(long why);
struct player {int y, x; int hp; unsigned alive : 1, armed : 2;};
long ticks; static char *best;
int spawn(struct player *p, enum color c) {return p->x + c;}
int move(struct player *p, int dy, int dx) {p->x += dx; p->y += dy; return ++ticks;}
int each(callback f) {return f(best++ != 0);}
void set_mode(enum mode m) {best += m;}
float reset(int hard) {return hard;}
"""
ROWS = """
✘ score: is gone
✘ move: parameter dx is called dy now, as another one was before (position 3)
✘ each: parameter f: callback (int (int) *) → callback (int (long) *)
✔ reset: is new
✔ enum color: enumerator BLUE (= 3) is new
✘ enum mode: enumerator FAST = 0 → 1
✔ ticks: int → long
struct player: 12 → 16 bytes
✘ x int at 0, 4 bytes → int at 4, 4 bytes
✘ hp short at 8, 2 bytes → int at 8, 4 bytes
✘ alive unsigned int at 10, bit 0, 1 bit → unsigned int at 12, bit 0, 1 bit
✘ armed unsigned int at 10, bit 1, 1 bit → unsigned int at 12, bit 1, 2 bits
✔ ticks migrated int is long now
✘ best refused int is char * now
✘ a swap would be refused
"""


def rows(text: str) -> list[str]:
    """Return the lines without what only sets them in columns."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_every_kind_of_change_has_its_row(tmp_path: Path, command: Run) -> None:
    (tmp_path / "old.c").write_text(OLD, encoding="utf-8")
    (tmp_path / "new.c").write_text(NEW, encoding="utf-8")
    done = command("diff", "old.c", "new.c")
    assert (done.returncode, done.stderr) == (1, "")
    assert [row for row in ROWS.split("\n") if row and row not in rows(done.stdout)] == []


def test_a_file_and_itself(tmp_path: Path, command: Run) -> None:
    (tmp_path / "old.c").write_text(OLD, encoding="utf-8")
    done = command("diff", "old.c", "old.c")
    assert (done.returncode, done.stderr) == (0, "")
    assert "✔ for callers nothing has changed" in rows(done.stdout)
    assert "→" not in done.stdout


def test_cxx_types_are_as_people_write_them(tmp_path: Path, command: Run) -> None:
    head = "#include <map>\n#include <string>\nstd::map<std::string, int> stock;\n"
    (tmp_path / "old.cpp").write_text(f'{head}extern "C" int total() {{ return stock.size(); }}', encoding="utf-8")
    done = command("diff", "old.cpp", "old.cpp")
    assert done.returncode == 1
    assert any(row.startswith("✘ stock refused std::map<std::string, int> isn't") for row in rows(done.stdout))


# ---- what no swap would get past ------------------------------------------------------------------------------------


def cc(directory: Path, name: str, text: str, *flags: str) -> None:
    """Compile something."""
    subprocess.run(["cc", "-g", "-o", name, "-xc", "-", *flags], cwd=directory, input=text.encode(), check=True)


@pytest.fixture
def files(tmp_path: Path) -> None:
    """Make a library, and what is none that `load` takes."""
    cc(tmp_path, "good.so", OLD, "-shared", "-fPIC")
    cc(tmp_path, "extension.so", "void *PyInit_extension(void) { return 0; }", "-shared", "-fPIC")
    cc(tmp_path, "program.so", "int main(void) { return 0; }")
    cc(tmp_path, "object.so", OLD, "-c")
    cc(tmp_path, "stripped.so", OLD, "-shared", "-fPIC", "-s")
    good = (tmp_path / "good.so").read_bytes()
    (tmp_path / "half.so").write_bytes(good[: len(good) // 2])
    (tmp_path / "arm.so").write_bytes(good[:18] + b"\xb7\0" + good[20:])
    (tmp_path / "empty.so").write_bytes(b"")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("extension", "it is a Python extension module (PyInit_extension)"),
        ("program", "it is a program (a position-independent executable); link it with -shared"),
        ("object", "not a shared library (its type is object file); link it with -shared"),
        ("stripped", "no debug information, so that its functions' types aren't known; build it with -g"),
        ("half", "truncated or still being written; build it again"),
        ("arm", "a library for another processor (ELF machine 183)"),
        ("empty", "the file is empty"),
    ],
)
def test_what_cannot_be_loaded_is_exit_code_2_on_either_side(command: Run, name: str, said: str) -> None:
    for pair in (("good.so", f"{name}.so"), (f"{name}.so", "good.so")):
        done = command("diff", *pair)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"{name}.so: ")
        assert said in done.stderr


# ---- in a pull request's checks --------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "diff.md"
MAKEFILE = "libgame.so: game.c\n\tcc -g -shared -fPIC -o $@ $<\n"


def check(repository: Path) -> subprocess.CompletedProcess[str]:
    """Run the page's check in a clone, as a pull request's job does."""
    script = re.search(r"```sh\n(git worktree.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    assert script is not None
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-ec", script[1]], cwd=repository, env={**os.environ, "PATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def git(directory: Path, *arguments: str) -> None:
    """Run git as somebody."""
    somebody = ("-c", "user.name=somebody", "-c", "user.email=somebody@localhost")
    subprocess.run(["git", *somebody, *arguments], cwd=directory, check=True, capture_output=True)


@pytest.mark.parametrize(("change", "code"), [("return a + 1;", 0), ("return a + b;", 1), ("return a", 2)])
def test_the_check_of_a_pull_request(tmp_path: Path, change: str, code: int) -> None:
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    origin.mkdir()
    git(origin, "init", "-b", "main")
    (origin / "Makefile").write_text(MAKEFILE, encoding="utf-8")
    (origin / "game.c").write_text("int f(int a) { return a; }\n", encoding="utf-8")
    git(origin, "add", ".")
    git(origin, "commit", "-m", "Begin")
    git(tmp_path, "clone", "origin", "clone")
    params = "int a, int b" if "b" in change else "int a"
    (clone / "game.c").write_text(f"int f({params}) {{ {change} }}\n", encoding="utf-8")
    done = check(clone)
    assert done.returncode == code, done.stderr
    assert ("✘ f: takes 2 parameters (a, b), took 1 parameter (a)" in done.stdout) == (code == 1)
