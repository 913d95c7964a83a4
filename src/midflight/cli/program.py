"""Runs another program as Python itself would: as ``__main__``, with its own ``sys.argv`` and ``sys.path``.

Guarantees: an exception of the program is shown by ``sys.excepthook`` without any frame of ours, and ends the process
with Python's own exit code; SystemExit and KeyboardInterrupt do what they do under Python.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import io
import os
import signal
import sys
import threading
import types
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from midflight._errors import SourceError, SourceNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, TracebackType

_T = TypeVar("_T")


def run_script(path: str, arguments: Sequence[str]) -> None:
    """Run a file, or the ``__main__.py`` of a directory."""
    script = Path(os.path.abspath(path))  # noqa: PTH100 - as Python does: symbolic links stay as they are
    if script.is_dir():
        _search_in(Path(path))
        main = script / "__main__.py"
        if not main.is_file():
            raise SourceError("the directory has no __main__.py", subject=path, todo="give the program's file")
        _run(_compiled(main, path), str(main), SourceFileLoader("__main__", str(main)), None, [path, *arguments])
    else:
        code = _compiled(script, path)
        _search_in(script.resolve().parent)
        _run(code, str(script), SourceFileLoader("__main__", str(script)), None, [path, *arguments])


def run_module(name: str, arguments: Sequence[str]) -> None:
    """Run a module, or the ``__main__`` module of a package, found on ``sys.path`` as ``python -m`` does."""
    _search_in(Path.cwd())
    sys.argv = ["-m", *arguments]
    spec = _guarded(lambda: _main_spec(name))
    if spec is None:
        todo = "check the name, and the directory"
        raise SourceNotFoundError("there is no such module that can be run", subject=name, todo=todo)
    loader = spec.loader
    code = _guarded(lambda: loader.get_code(spec.name)) if isinstance(loader, importlib.abc.InspectLoader) else None
    if code is None:
        raise SourceError(
            "the module has no code that can be run", subject=name, todo="name one that is written in Python"
        )
    _run(code, spec.origin or name, loader, spec, [spec.origin or name, *arguments])


def _main_spec(name: str) -> ModuleSpec | None:
    """Find the module that is to run.  Imports the packages that it is in, which may fail in any way."""
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        return None
    return spec


def _compiled(script: Path, shown: str) -> CodeType:
    try:
        with io.open_code(str(script)) as file:
            source = file.read()
    except FileNotFoundError:
        raise SourceNotFoundError("there is no such file", subject=shown, todo="check the path") from None
    except OSError as error:
        raise SourceError(
            f"the file can't be read ({error.strerror})", subject=shown, todo="check its permissions"
        ) from error
    return _guarded(lambda: compile(source, str(script), "exec", dont_inherit=True))


def _search_in(directory: Path) -> None:
    """Put the program's directory where Python put ours."""
    if not sys.flags.safe_path:
        sys.path[0:1] = [str(directory)]


def _run(code: CodeType, file: str, loader: object, spec: ModuleSpec | None, argv: list[str]) -> None:
    main = types.ModuleType("__main__")
    main.__dict__.update(
        __file__=file,
        __loader__=loader,
        __spec__=spec,
        __package__=spec.parent if spec is not None else None,
        __builtins__=sys.modules["builtins"],
        __cached__=None,
    )
    if sys.version_info < (3, 14):
        main.__annotations__ = {}
    sys.modules["__main__"] = main
    sys.argv = argv
    try:
        _guarded(lambda: exec(code, main.__dict__))  # noqa: S102 - to run a program is what this is for
    finally:
        # Its threads may go on.  Python waits for them by this same function, but 3.12 lets no thread or process start
        # while it does, so that nothing could be built and swapped any more.  The second time it returns at once.
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001


def _guarded(do: Callable[[], _T]) -> _T:
    """Do something of the program's; end as Python would if it fails."""
    try:
        return do()
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, the program's own excepthook is to show it
        _end(error)


def _end(error: BaseException) -> NoReturn:
    trace = _without_ours(error.__traceback__)
    error.__traceback__ = trace
    sys.excepthook(type(error), error, trace)
    if isinstance(error, KeyboardInterrupt):
        _die_of_interrupt()
    sys.exit(1)


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def _die_of_interrupt() -> None:
    """Die by SIGINT, so that a shell sees that the program was interrupted."""
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
