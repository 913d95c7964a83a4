"""Would catch: damaged or foreign files in the cache that get believed, a cache that grows or loses what is used."""

from __future__ import annotations

import gc
import hashlib
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from midflight import _cache
from midflight._cache import cache_directory
from midflight._errors import BadLibraryError
from midflight.build import describe, store
from midflight.build.model import stored_artifact


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "calc.c"
    path.write_text('#include "k.h"\nint add(int a, int b) { return a + b + K; }\n')
    (tmp_path / "k.h").write_text("#define K 0\n")
    return path


def manifests(cache: Path) -> list[Path]:
    return [path for path in (cache / "manifests").glob("*/*") if path.is_file()]


# ---- manifests


@pytest.mark.parametrize("damage", ["empty", "text", "flipped", "cut"])
def test_damaged_manifest_is_built_again(source: Path, cache: Path, builds: list[str], damage: str) -> None:
    first = describe(source).resolve()
    (manifest,) = manifests(cache)
    data = bytearray(manifest.read_bytes())
    middle = len(data) // 2
    data[middle] ^= 1
    damaged = {"empty": b"", "text": b"x" * 100, "flipped": bytes(data), "cut": bytes(data[:middle])}
    manifest.write_bytes(damaged[damage])
    again = describe(source).resolve()
    assert (again.sha256, again.cached, len(builds)) == (first.sha256, False, 2)
    assert describe(source).resolve().cached


def test_damaged_artifact_is_built_again(source: Path, builds: list[str]) -> None:
    first = describe(source).resolve()
    first.path.chmod(0o600)
    first.path.write_bytes(b"\x7fELF" + bytes(100))
    with pytest.raises(BadLibraryError, match="SHA-256"):
        first.read()
    again = describe(source).resolve()
    assert (again.cached, len(builds)) == (False, 2)
    assert hashlib.sha256(first.read()).hexdigest() == first.sha256


def test_deleted_artifact_is_built_again(source: Path, builds: list[str]) -> None:
    first = describe(source).resolve()
    first.path.unlink()
    with pytest.raises(BadLibraryError):
        first.read()
    assert describe(source).resolve().read()
    assert len(builds) == 2


def test_other_processes_use_it(source: Path, builds: list[str]) -> None:
    first = describe(source).resolve()
    code = f"from midflight import build; a = build.describe({str(source)!r}).resolve(); print(a.cached, a.sha256)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=paths())
    assert done.stdout.split() == ["True", first.sha256]
    assert len(builds) == 1


def paths() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


# ---- the store


def test_put_and_read(cache: Path) -> None:
    stored = store.put(b"some bytes")
    assert stored.sha256 == hashlib.sha256(b"some bytes").hexdigest()
    assert (store.read(stored.sha256), store.find(stored.sha256)) == (b"some bytes", stored.path)
    assert cache in stored.path.parents
    assert store.put(b"some bytes") == stored


def test_put_mends_a_damaged_entry() -> None:
    stored = store.put(b"some bytes")
    stored.path.chmod(0o600)
    stored.path.write_bytes(b"xome bytes")
    assert store.find(stored.sha256) is None
    store.put(b"some bytes")
    assert store.read(stored.sha256) == b"some bytes"


def test_a_name_is_no_path() -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        store.path_of("../../etc/passwd")


def test_many_writers_of_the_same_bytes(cache: Path) -> None:
    barrier = threading.Barrier(8)

    def put(_: int) -> str:
        barrier.wait()
        return store.put(b"x" * 100_000).sha256

    with ThreadPoolExecutor(8) as pool:
        (sha256,) = set(pool.map(put, range(8)))
    assert len(store.read(sha256)) == 100_000
    assert not list(cache.glob("artifacts/*/.new-*"))


def age(path: Path, seconds: float) -> None:
    moment = path.stat().st_mtime - seconds
    os.utime(path, (moment, moment))


def test_prune_drops_what_was_used_longest_ago() -> None:
    stored = [store.put(bytes([number]) * 1000) for number in range(4)]
    for number, entry in enumerate(stored):
        age(entry.path, 100 - number)
    store.find(stored[0].sha256)
    assert store.prune(2000) == 2000
    assert [entry.path.exists() for entry in stored] == [True, False, False, True]


def test_prune_spares_what_a_live_process_holds(tmp_path: Path) -> None:
    held = store.put(b"held by this process")
    artifact = stored_artifact(held.sha256, origin=tmp_path, cached=True)
    twin = stored_artifact(held.sha256, origin=tmp_path, cached=True)
    del twin
    gc.collect()
    store.prune(0)
    assert artifact.read() == b"held by this process"
    del artifact
    gc.collect()
    assert store.prune(0) > 0
    assert not held.path.exists()


def test_prune_spares_what_another_process_holds() -> None:
    code = (
        "import sys; from pathlib import Path; from midflight.build import store, model\n"
        "a = model.stored_artifact(store.put(b'held elsewhere').sha256, origin=Path('/'), cached=True)\n"
        "print(a.sha256, flush=True); sys.stdin.read(1); import os; os._exit(0)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=paths()
    ) as other:
        assert other.stdout is not None
        sha256 = other.stdout.readline().strip()
        store.prune(0)
        assert store.read(sha256) == b"held elsewhere"
        other.communicate("x")
    assert store.prune(0) > 0
    assert store.find(sha256) is None


def test_writing_prunes_by_itself(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("MIDFLIGHT_CACHE_SIZE", "100K")
    for number in range(60):
        last = store.put(number.to_bytes(2, "big") * 5000)
    total = sum(path.stat().st_size for path in (cache / "artifacts").glob("*/*"))
    assert total <= 120_000
    assert last.path.exists()


@pytest.mark.parametrize(
    ("text", "size"), [("", 1 << 30), ("1000", 1000), ("2K", 2048), ("3MiB", 3 << 20), ("?", 1 << 30)]
)
def test_limit(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setenv("MIDFLIGHT_CACHE_SIZE", text)
    assert store.limit() == size


# ---- the directory


def test_directory_is_private(cache: Path) -> None:
    assert cache_directory() == cache
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_directory_that_everybody_may_write_to_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setenv(_cache.VARIABLE, str(shared))
    chosen = cache_directory()
    assert chosen != shared
    assert stat.S_IMODE(chosen.stat().st_mode) == 0o700
    assert cache_directory() == chosen


def test_directory_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(_cache.VARIABLE, str(tmp_path / "file" / "cache"))
    assert describe(source).resolve().read().startswith(b"\x7fELF")


def test_temporary_directory_goes_at_exit(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    env = {**paths(), "MIDFLIGHT_CACHE_DIR": str(tmp_path / "file" / "cache"), "TMPDIR": str(tmp_path)}
    code = "from midflight._cache import cache_directory; print(cache_directory())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env)
    assert not Path(done.stdout.strip()).exists()


def test_nothing_is_left_after_builds(source: Path, cache: Path) -> None:
    describe(source).resolve()
    assert list((cache / "work").iterdir()) == []
    assert not list(cache.glob("*/*/.new-*"))
