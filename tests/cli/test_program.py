"""Would catch: a program that behaves otherwise under `midflight run` than under python itself."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_RUN = (sys.executable, "-m", "midflight", "run")

_PROGRAMS = {
    "argv and path": "import sys, os; print(sys.argv, sys.path[0] == os.path.dirname(os.path.abspath(__file__)))",
    "names": "print(__name__, __file__, __package__, __spec__, __doc__, sorted(globals()))",
    "main module": "import __main__; x = 3; print(__main__.x, __main__.__dict__ is globals())",
    "exit code": "import sys; print('out'); sys.exit(7)",
    "exit text": "import sys; sys.exit('that was it')",
    "exit none": "raise SystemExit",
    "exception": "def f():\n    1 / 0\nf()",
    "chained exception": "try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('b') from e",
    "syntax error": "x = 1\nx = = 2\n",
    "own excepthook": "import sys; sys.excepthook = lambda *a: print('mine', a[0], a[2].tb_lineno)\n1 / 0",
    "atexit": "import atexit; atexit.register(print, 'bye'); print('hello')",
    "thread goes on": (
        "import threading\ndone = threading.Event()\n"
        "def f():\n    threading.main_thread().join(); print('after main')\n"
        "threading.Thread(target=f).start()\nprint('main')"
    ),
    "pickle": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A)",
    "dataclass": (
        "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\n"
        "class A:\n    x: int\nprint(A(1))"
    ),
    "sibling": "import beside; print(beside.value)",
    "midflight error": "import midflight\nmidflight.load('nowhere.c')",
    "encoding": "# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))",
    "stdin": "print(input())",
    "interrupt": "raise KeyboardInterrupt",
    "no leak of annotations": "def f(x: undefined): pass\n",
}


def _done(start: tuple[str, ...], arguments: list[str], cwd: Path, plain: dict[str, str]) -> tuple[int, str, str]:
    done = subprocess.run(
        [*start, *arguments], cwd=cwd, env=plain, input="typed\n", capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def _same(arguments: list[str], cwd: Path, plain: dict[str, str]) -> None:
    assert _done(_RUN, arguments, cwd, plain) == _done((sys.executable,), arguments, cwd, plain)


@pytest.mark.parametrize("name", _PROGRAMS)
def test_a_script_does_what_it_does_under_python(name: str, tmp_path: Path, plain: dict[str, str]) -> None:
    encoding = "latin-1" if name == "encoding" else "utf-8"
    (tmp_path / "app.py").write_text(_PROGRAMS[name], encoding=encoding)
    (tmp_path / "beside.py").write_text("value = 5\n", encoding="utf-8")
    _same(["app.py", "-x", "--help", "two words"], tmp_path, plain)


def test_a_module_does_what_it_does_under_python(tmp_path: Path, plain: dict[str, str]) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("print('init', __name__)\n", encoding="utf-8")
    (package / "__main__.py").write_text(
        "from . import part\nprint('main', __package__, __spec__.name)\n", encoding="utf-8"
    )
    (package / "part.py").write_text(
        "import sys\nprint(__name__, __package__, __file__, sys.argv, sys.path[0])\n", encoding="utf-8"
    )
    _same(["-m", "package", "--option", "-v"], tmp_path, plain)
    _same(["-m", "package.part", "x"], tmp_path, plain)


def test_a_module_that_fails_shows_its_own_lines_only(tmp_path: Path, plain: dict[str, str]) -> None:
    (tmp_path / "broken.py").write_text("def f():\n    raise OSError('no')\nf()\n", encoding="utf-8")
    code, _, said = _done(_RUN, ["-m", "broken"], tmp_path, plain)
    assert code == 1
    assert said.count("File ") == 2
    assert "OSError: no" in said
    assert "midflight" not in said


def test_a_directory_with_a_main_file_runs(tmp_path: Path, plain: dict[str, str]) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text("import sys; print(sys.argv, __name__)", encoding="utf-8")
    _same(["app", "1"], tmp_path, plain)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.py"], "nowhere.py: there is no such file"),
        (["empty"], "empty: the directory has no __main__.py"),
        (["-m", "no_such_module_here"], "no_such_module_here: there is no such module"),
        (["-m", "no_such_package.part"], "no_such_package.part: there is no such module"),
    ],
)
def test_what_cant_be_run_is_one_line(arguments: list[str], words: str, tmp_path: Path, plain: dict[str, str]) -> None:
    (tmp_path / "empty").mkdir()
    code, printed, said = _done(_RUN, arguments, tmp_path, plain)
    assert (code, printed) == (1, "")
    assert said.startswith(words)
    assert said.count("\n") == 1
