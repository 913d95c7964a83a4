"""Restarts a server 20 times while clients ask without pause, and counts the errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from load import Load

_HERE = Path(__file__).parent
_MIDFLIGHT = [sys.executable, "-m", "midflight", "serve"]


def main(restarts: int) -> int:
    """Play; return the exit code: 1 if there was an error."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        shutil.copy(_HERE / "app.py", place)
        control = ["--control", str(place / "control.sock")]
        command = [*_MIDFLIGHT, "app:main", "--workers", "2", "--bind", "127.0.0.1:0", *control]
        with subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True) as server:
            try:
                return _play(place, restarts, control, server)
            finally:
                server.terminate()


def _play(place: Path, restarts: int, control: list[str], server: subprocess.Popen[str]) -> int:
    for line in server.stderr or ():
        if line.endswith("serving\n"):
            break
    status = subprocess.run([*_MIDFLIGHT, "--status", "--json", *control], check=True, capture_output=True)
    host, _, port = json.loads(status.stdout)["addresses"][0].rpartition(":")
    source = (_HERE / "app.py").read_text(encoding="utf-8")
    began = time.perf_counter()
    with Load(host, int(port)) as load:
        for number in range(2, restarts + 2):
            (place / "app.py").write_text(source.replace("version 1", f"version {number}"), encoding="utf-8")
            subprocess.run([*_MIDFLIGHT, "--restart", *control], check=True, stdout=subprocess.DEVNULL)
            load.more(50)
    seconds = time.perf_counter() - began
    print(f"{restarts} restarts in {seconds:.1f} s under load: {load.count} answers of {len(load.answers)} versions,")
    print(f"{len(load.errors)} errors")
    for error in load.errors[:10]:
        print(f"  {error}")
    return 1 if load.errors else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
