"""What `hardened=True` and `expect=` add to a load."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import midflight
from benchmarks.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.peers import Peers

_ROUNDS = 31


def run(_peers: Peers) -> Iterator[Result]:
    """Load a small library in each way, in turns."""
    with tempfile.TemporaryDirectory() as name:
        source, path = Path(name, "small.c"), Path(name, "small.so")
        source.write_text("int add(int a, int b) { return a + b; }\n")
        subprocess.run(["cc", "-g", "-O2", "-shared", "-fPIC", "-o", path, source], check=True)
        key, data = Ed25519PrivateKey.generate(), path.read_bytes()
        expect = midflight.Signed(key.public_key(), key.sign(data))
        ways: dict[str, dict[str, Any]] = {
            "as usual": {},
            "signed": {"expect": expect},
            "hardened": {"hardened": True},
            "hardened and signed": {"hardened": True, "expect": expect},
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(_ROUNDS):
            for way, options in ways.items():
                times[way].append(_load(path, options))
    medians = {way: statistics.median(found) for way, found in times.items()}
    both = medians.pop("hardened and signed")
    yield Result("load of a small library, hardened and signed", both, "ms", {}, (), medians)


def _load(path: Path, options: dict[str, Any]) -> float:
    start = perf_counter()
    module = midflight.load(path, probe=False, **options)
    took = perf_counter() - start
    midflight.unload(module)
    return took * 1e3
