"""A ready-made Go plugin (``go build -buildmode=plugin``).

A plugin can be opened only by a program that was built by the same Go, with the same settings.  So a host program is
built for it, with the Go that is there, and opens it in a process of its own, one for each version: the plugin that
"can't be closed" and "is already loaded" ends with its process.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from midflight._errors import LoadError
from midflight.build import go_tools, manifest, process, progress
from midflight.build.base import failure
from midflight.build.compiler import Compiler, find_compiler
from midflight.build.go_host import attach
from midflight.build.library import LibrarySource
from midflight.build.manifest import Built
from midflight.build.model import Artifact, stored_artifact

if TYPE_CHECKING:
    from pathlib import Path

    from midflight.build.model import Accept

_MARK = b"build\t-buildmode=plugin\n"
_VERSION = re.compile(r"\bgo(\d+\.\d+\S*|[a-z]\S*)")
_SETTING = re.compile(r"^\tbuild\t(-?[\w.]+)=(.*)$", re.MULTILINE)
_KEPT = ("-race", "-msan", "-asan")


def is_go_plugin(path: Path) -> bool:
    """Tell whether a file is a Go plugin, by the build information that Go puts into it."""
    try:
        return _MARK in path.read_bytes()
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class _Toolchain:
    """What a plugin was built with, or is to be opened with."""

    version: str
    trimpath: bool

    def __str__(self) -> str:
        return f"{self.version} {'with' if self.trimpath else 'without'} -trimpath"


class GoPluginSource(LibrarySource):
    """A Go plugin that somebody else built."""

    def resolve(self, accept: Accept | None = None) -> Artifact:
        """Build a host program for the plugin, and return both as one artifact."""
        plugin = super().resolve(accept)
        data = plugin.read()
        go = find_compiler("go", cwd=plugin.origin, subject=self.display)
        key = manifest.key("go-plugin", plugin.sha256, go.identity, go_tools.sources_digest(), go_tools.settings())
        found = manifest.obtain(key, lambda directory: self._build(directory, go, plugin, data))
        return stored_artifact(found.sha256, origin=plugin.origin, cached=found.cached)

    def _build(self, work: Path, go: Compiler, plugin: Artifact, data: bytes) -> Built:
        with progress.building(self.display):
            told = process.run((*go.command, "version", "-m", str(plugin.path)), cwd=work, subject=self.display)
            settings = dict(_SETTING.findall(told.stdout))
            theirs = _Toolchain(_version(told.stdout.partition(": ")[2]), settings.get("-trimpath") == "true")
            ours = _Toolchain(_version(go.identity.rpartition("go version ")[2]), theirs.trimpath)
            if theirs.version != ours.version:
                what = f"the plugin was built with {theirs.version}, this host has {ours.version}"
                todo = f"build the plugin with {ours.version}, or set GO to a go command of {theirs.version}"
                raise LoadError(what, subject=self.display, todo=todo)
            host = self._host(work, go, theirs, settings)
            api = self._describe(work, host, plugin, theirs, ours)
        return Built(attach(host.read_bytes(), api, data))

    def _host(self, work: Path, go: Compiler, toolchain: _Toolchain, settings: dict[str, str]) -> Path:
        host = work / "host"
        flags = ["-trimpath"] if toolchain.trimpath else []
        flags += [name for name in _KEPT if settings.get(name) == "true"]
        flags += [f"{name}={settings[name]}" for name in ("-gcflags", "-tags") if settings.get(name)]
        command = (*go.command, "build", "-buildvcs=false", *flags, "-o", str(host), "./plugin")
        environment = {**go_tools.environment(cgo=True, alone=True), "GOFLAGS": ""}
        outcome = process.run(command, cwd=go_tools.SOURCES, env=environment, subject=self.display)
        if outcome.status != 0 or not host.is_file():
            raise failure(outcome, subject=self.display, hide=work)
        return host

    def _describe(self, work: Path, host: Path, plugin: Artifact, theirs: _Toolchain, ours: _Toolchain) -> bytes:
        """Ask the plugin what it offers, in a process that ends then."""
        copy = work / "plugin.so"
        copy.write_bytes(plugin.read())
        # As bytes: what it prints while it is initialised comes before what we want.
        outcome = process.run_bytes((str(host), "describe", str(copy)), cwd=work, subject=self.display)
        if outcome.status != 0:
            words = outcome.stderr.decode("utf-8", "replace").strip().replace(str(copy), self.display)
            what = f"the plugin can't be opened: {words}; it was built with {theirs}, its host with {ours}"
            todo = f"build the plugin with {ours.version} and the same flags"
            raise LoadError(what, subject=self.display, todo=todo)
        start = outcome.stdout.rfind(_API_MARK)
        try:
            return msgspec.json.encode(msgspec.msgpack.decode(outcome.stdout[start + len(_API_MARK) :]))
        except (msgspec.MsgspecError, ValueError) as error:
            what = f"what the plugin says of itself can't be read ({error})"
            raise LoadError(what, subject=self.display, todo="build the plugin again, with this Go") from error


_API_MARK = b"\0midflight-api\0"


def _version(text: str) -> str:
    found = _VERSION.search(text)
    return f"go{found[1]}" if found else "an unknown Go"
