"""Would catch: a bad new version that takes the old one down, or whose reason isn't told."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from midflight.serve import RestartRefusedError, client
from tests.serve.conftest import MAIN, kill

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.serve.conftest import Served
    from tests.talking import Run

_BAD = {
    "import error": ("import nowhere\n", "import", "No module named 'nowhere'"),
    "syntax error": ("def main(:\n", "import", "SyntaxError"),
    "name gone": ("def other(listeners, lifecycle): pass\n", "import", "there is no main"),
    "not callable": ("main = 3\n", "import", "can't be called"),
    "unknown kind": ("def main(a, b): pass\n", "import", "can't tell what kind"),
    "exception": ("def main(listeners, lifecycle): raise ValueError('no model')\n", "start", "ValueError: no model"),
    "exit": ("import sys\ndef main(listeners, lifecycle): sys.exit('out of order')\n", "start", "out of order"),
    "hard exit": ("import os\ndef main(listeners, lifecycle): os._exit(7)\n", "start", "exit code 7"),
    "crash": ("import os\ndef main(listeners, lifecycle): os.abort()\n", "start", "SIGABRT"),
    "returns": ("def main(listeners, lifecycle): pass\n", "start", "returned before it was ready"),
    "never ready": ("def main(listeners, lifecycle): lifecycle.stopping.wait()\n", "ready", "wasn't ready within 8 s"),
    "asgi startup": (
        "async def main(scope, receive, send):\n    raise RuntimeError('no database')\n    await send({})\n",
        "start",
        "ended with",
    ),
}


@pytest.mark.parametrize(("text", "stage", "reason"), _BAD.values(), ids=_BAD)
def test_the_old_workers_go_on(serve: Callable[..., Served], text: str, stage: str, reason: str) -> None:
    if "async" in text:
        text = text.replace(
            "    raise",
            "    if scope['type'] == 'lifespan':\n        await receive()\n"
            "        await send({'type': 'lifespan.startup.failed', 'message': 'no'})\n    raise",
        )
    served = serve(MAIN, "--ready-timeout", "8", "--kill-timeout", "1")
    before = served.pids()
    with served.load(fresh=1, kept=1) as load:
        load.more(5)
        served.write(text)
        with pytest.raises(RestartRefusedError) as refused:
            served.restart()
        load.more(5)
    assert load.errors == []
    assert set(load.answers) == {"1"}
    assert refused.value.stage == stage
    assert reason in refused.value.what
    assert refused.value.unchanged == "workers 1, 2 of generation 1 go on"
    assert refused.value.todo
    assert served.pids() == before
    assert served.status().generation == 1
    served.stop()


def test_a_port_that_is_taken_is_told_with_the_last_words(serve: Callable[..., Served], command: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        served = serve()
        before = served.pids()
        port = taken.getsockname()[1]
        served.write(
            f"import socket, sys\nprint('opening the second port', file=sys.stderr)\n"
            f"socket.create_server(('127.0.0.1', {port}))\n{MAIN}"
        )
        done = command("serve", "--restart", "--control", served.control)
        assert done.returncode == 1
        assert "Address already in use" in done.stderr
        assert "| opening the second port" in done.stderr
        assert "workers 1, 2 of generation 1 go on" in done.stderr
        as_json = command("serve", "--restart", "--json", "--control", served.control)
        assert as_json.returncode == 1
        refused = json.loads(as_json.stdout)["refused"]
        assert refused["stage"] == "import"
        assert refused["words"][0] == "opening the second port"
        assert served.pids() == before
    assert served.restart().generation == 2
    served.stop()


def test_asgi_without_uvicorn_names_the_extra(serve: Callable[..., Served], tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError(name='uvicorn')\n", encoding="utf-8")
    served = serve("async def main(scope, receive, send): pass\n", wait=False)
    assert served.talk.end() == 1
    assert "pip install 'midflight[serve]'" in served.talk.heard
    assert "Traceback" not in served.talk.heard


def test_a_first_start_that_fails_leaves_nothing(serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve("import nowhere\n", "--bind", f"unix:{tmp_path}/app.sock", wait=False)
    assert served.talk.end() == 1
    assert "No module named 'nowhere'" in served.talk.heard
    assert "nothing is served" in served.talk.heard
    assert not (tmp_path / "app.sock").exists()


def test_an_environment_that_cannot_be_read_refuses(serve: Callable[..., Served], tmp_path: Path) -> None:
    text = MAIN.replace('VERSION = "1"', 'import os\nVERSION = os.environ["GREETING"]')
    (tmp_path / "app.env").write_text('# greeting\nGREETING="good day"\n', encoding="utf-8")
    served = serve(text, "--env-file", "app.env")
    with served.load(fresh=1, kept=0) as load:
        served.write("nonsense\n", "app.env")
        with pytest.raises(RestartRefusedError, match="line 1 isn't NAME=VALUE"):
            served.restart()
        served.write("GREETING=hello\n", "app.env")
        served.restart()
        load.more(3)
    assert set(load.answers) == {"good day", "hello"}
    assert load.errors == []
    served.stop()


def test_an_upgrade_that_cannot_start_changes_nothing(serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve()
    before = served.pids()
    served.write("raise RuntimeError('broken installation')\n", "msgspec.py")
    with pytest.raises(RestartRefusedError) as refused:
        client.upgrade(served.control)
    (tmp_path / "msgspec.py").unlink()
    assert refused.value.stage == "upgrade"
    assert "broken installation" in refused.value.words[-1]
    assert served.pids() == before
    assert served.restart().generation == 2
    served.stop()


def test_a_worker_that_becomes_ready_and_dies_stops_the_restart(serve: Callable[..., Served]) -> None:
    served = serve()
    first = served.status().workers[1].pid
    # The first of the new ones says that it is ready and ends; the second one's place isn't touched then.
    served.write(MAIN.replace("    lifecycle.ready()\n", "    lifecycle.ready()\n    raise SystemExit('too late')\n"))
    with pytest.raises(RestartRefusedError) as refused:
        served.restart()
    assert refused.value.stage in {"serve", "start"}
    assert "too late" in refused.value.words
    assert first in served.pids()
    served.write(MAIN)
    served.restart()
    assert len(served.pids()) == 2
    kill(served.pids()[0])
    served.stop()
