"""How long a library's inspection takes and how much memory, beside the size of its file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.results import Result, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.peers import Peers

_ROOT = Path(__file__).resolve().parent.parent
_BUILD = _ROOT / "build/bench-doctor"
_MB = 1_000_000

_SOURCE: Final = """
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <regex>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>
struct player { int id; std::string name; std::vector<int> items; };
static std::map<std::string, player> players;
static int counter;
int shown_000 = 3;
thread_local int own_000;
template <typename T> struct box { T value; static int made; box(T v) : value(v) { ++made; } };
template <typename T> int box<T>::made = 0;
extern "C" int add_000(int a, int b) { static int calls; counter += ++calls; return box<int>(a).value + b; }
extern "C" int look_000(const char *text)
{
    std::regex pattern(text);
    return std::regex_search("abcdef", pattern) + (int)players.size() + ++own_000;
}
extern "C" int sort_all_000(int n)
{
    std::vector<std::string> all(n, "text");
    std::sort(all.begin(), all.end());
    std::unordered_map<std::string, std::function<int(int)>> by;
    for (auto &one : all) by[one] = [&](int a) { return a + (int)one.size(); };
    std::ostringstream out;
    for (auto &one : by) out << one.second(1);
    return (int)out.str().size();
}
"""
_EXPORTED = (b"add_", b"look_", b"sort_all_", b"shown_", b"own_")
_RUST: Final = """
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
static KEPT: Mutex<BTreeMap<String, Vec<u32>>> = Mutex::new(BTreeMap::new());
#[no_mangle] pub extern "C" fn count(n: u32) -> u32 {
    let mut by = HashMap::new();
    for i in 0..n { by.entry(format!("{}", i % 7)).or_insert_with(Vec::new).push(i); }
    let mut kept = KEPT.lock().unwrap();
    for (name, all) in by { kept.insert(name, all); }
    kept.values().map(|all| all.len() as u32).sum()
}
"""


def run(peers: Peers) -> Iterator[Result]:
    """Inspect libraries of 5 MB and 100 MB with DWARF, each in a fresh process with an empty cache."""
    del peers  # nobody else does this
    _BUILD.mkdir(parents=True, exist_ok=True)
    libraries = [(_cxx(5), 0.5), (_cxx(100), 5.0)] + ([(_rust(), 0.5)] if shutil.which("rustc") else [])
    for path, seconds in libraries:
        found = [_measure(path) for _ in range(3)]
        size = path.stat().st_size
        best = min(one["seconds"] for one in found)
        memory = max(one["memory"] for one in found) / size
        allowed = seconds * max(1.0, size / _MB / (5 if seconds < 1 else 100))
        yield Result(
            f"inspect {path.name}: {size / _MB:.0f} MB with DWARF",
            best,
            "s",
            parts={
                "processor time": min(one["busy"] for one in found),
                "peak memory, in sizes of the file": memory,
                "functions": found[0]["functions"],
            },
            targets=(Target("seconds", best, allowed), Target("times the file in memory", memory, 3)),
        )


def _cxx(megabytes: int) -> Path:
    """Link as many copies of a unit as make that size; what they export, and describe, is told apart by a number."""
    output, unit = _BUILD / f"cxx-{megabytes}.so", _BUILD / "unit.o"
    if output.exists():
        return output
    if not unit.exists():
        source = _BUILD / "unit.cc"
        source.write_text(_SOURCE, "utf-8")
        subprocess.run(["c++", "-g", "-O1", "-fPIC", "-c", "-o", unit, source], check=True)
    copies: list[Path] = []
    while not output.exists() or output.stat().st_size < megabytes * _MB:
        grown = output.stat().st_size if output.exists() else 0
        each = max(1, grown // len(copies)) if copies else 0
        for _ in range(max(1, (megabytes * _MB - grown) // each) if each else 1):
            copies.append(_copy(unit, len(copies)))
        subprocess.run(["c++", "-shared", "-o", output, *copies], check=True)
    for copy in copies:
        copy.unlink()
    return output


def _copy(unit: Path, number: int) -> Path:
    made, data = _BUILD / f"unit-{number}.o", unit.read_bytes()
    for name in _EXPORTED:
        data = data.replace(name + b"000", name + b"%03d" % number)
    made.write_bytes(data)
    return made


def _rust() -> Path:
    output, source = _BUILD / "rust.so", _BUILD / "unit.rs"
    if not output.exists():
        source.write_text(_RUST, "utf-8")
        subprocess.run(["rustc", "-g", "--crate-type=cdylib", "-o", output, source], check=True)
    return output


def _measure(path: Path) -> dict[str, float]:
    command = (sys.executable, "-m", "benchmarks.doctor", str(path))
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=_ROOT)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _peak() -> int:
    """Return the most memory that this program has had; getrusage counts what was before it was started, too."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    return int(found[1]) * 1024 if found else 0


def _inspect(path: str) -> None:
    """Measure one inspection in this process, which has done nothing else."""
    import os  # noqa: PLC0415
    import tempfile  # noqa: PLC0415
    from time import perf_counter, process_time  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as cache:
        os.environ["MIDFLIGHT_CACHE_DIR"] = cache
        import midflight  # noqa: PLC0415 - with a cache that is empty

        before = _peak()
        start, busy = perf_counter(), process_time()
        found = midflight.inspect(path)
        seconds, busy = perf_counter() - start, process_time() - busy
        memory = _peak() - before
    print(json.dumps({"seconds": seconds, "busy": busy, "memory": memory, "functions": len(found.exports.functions)}))


if __name__ == "__main__":
    _inspect(*sys.argv[1:])
