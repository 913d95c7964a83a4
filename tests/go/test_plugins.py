"""A ready-made plugin that isn't opened, isn't replaced, or whose mismatch isn't explained."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

import midflight
from midflight import LoadError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.go.conftest import Packages

SOURCE = """package main

import "fmt"

func init() { fmt.Println("WORD is here") }

type Greeter interface{ Greet() string }
type MyGreeter struct{}
type Point struct{ X, Y int }

func (p Point) Sum() int             { return p.X + p.Y }
func (MyGreeter) Greet() string      { return "WORD" }
func NewGreeter() Greeter            { return MyGreeter{} }
func Add(a, b int32) (int32, error)  { return a + b, nil }
func Move(p Point) Point             { return Point{p.X + 1, p.Y} }

var G = MyGreeter{}
var Count = 1
"""


def build(go: Packages, name: str, word: str, *flags: str) -> Path:
    """Build a plugin as its author would."""
    go.write(f"{name}/go.mod", f"module {name}\n\ngo 1.22\n")
    go.write(f"{name}/main.go", SOURCE.replace("WORD", word))
    output = go.root / f"{name}.so"
    command = ["go", "build", "-buildmode=plugin", *flags, "-o", str(output), "."]
    subprocess.run(command, cwd=go.root / name, check=True)
    return output


def test_a_plugin_offers_what_it_exports_and_is_replaced(go: Packages):
    plugin = go.load(build(go, "one", "first"), name="plugin")
    assert plugin.Add(2, 3) == 5
    assert plugin.NewGreeter().Greet() == "first"
    assert plugin.G.Greet() == "first"
    assert plugin.Move({"X": 1, "Y": 2}) == plugin.Point(2, 2)
    assert plugin.Point(3, 4).Sum() == 7
    midflight.variables(plugin)["Count"] = 5
    assert plugin.Count == 5
    midflight.swap(plugin, build(go, "two", "second"))
    assert (plugin.NewGreeter().Greet(), plugin.Count) == ("second", 1)
    assert midflight.versions(plugin)[0].status == "unloaded"


def test_a_plugin_built_with_trimpath_gets_a_host_built_so(go: Packages):
    plugin = go.load(build(go, "trimmed", "short", "-trimpath"), name="plugin")
    assert plugin.NewGreeter().Greet() == "short"


def test_another_go_is_explained(go: Packages):
    import re

    path = build(go, "old", "x")
    data = path.read_bytes()
    version = re.search(rb"go1\.\d+\.?\d*", data)
    assert version is not None
    path.write_bytes(data.replace(version[0], b"go1" + b".0" + b"9" * (len(version[0]) - 5)))
    with pytest.raises(LoadError, match=r"the plugin was built with go1\.09+, this host has go1\.\d+"):
        midflight.load(path)


def test_a_plugin_of_other_settings_is_explained(go: Packages):
    path = build(go, "other", "x", "-gcflags=all=-N")
    with pytest.raises(LoadError, match=r"it was built with go\S+ without -trimpath, its host with go\S+"):
        data = path.read_bytes().replace(b"-gcflags=all=-N\n", b"-gcflagz=all=-N\n")
        path.write_bytes(data)
        midflight.load(path)
