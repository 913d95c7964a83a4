"""docs/hardened.md.

Would catch an example that doesn't work, a message or a claim of a table that isn't what a user sees.
"""

from __future__ import annotations

import re
import subprocess
import textwrap
from pathlib import Path

import pytest

import midflight
from tests.hardened.conftest import sha256

PAGE = (Path(__file__).parents[2] / "docs" / "hardened.md").read_text()
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SOURCE = "int add(int a, int b) { return a + b; }\n"


def blocks(*kinds):
    return [(kind, textwrap.dedent(text)) for _, kind, text in BLOCK.findall(PAGE) if kind in kinds]


def run_text(text, names):
    """Run what the page shows."""
    exec(text, names)  # noqa: S102 - that is what a reader does with it


def words(text):
    """Return a text as it is read: lines are broken anywhere."""
    return " ".join(str(text).split())


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory with the source that the page's commands compile."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "calc.c").write_text(SOURCE)
    return tmp_path


def test_all_examples_in_their_order(place):
    first, with_hash, *rest = blocks("sh", "python")
    subprocess.run(["cc", "-g", "-fPIC", "-shared", "-o", "calc.so", "calc.c"], check=True)
    names = {"midflight": midflight}
    run_text(with_hash[1], names)
    for kind, text in rest:
        if kind == "sh":
            subprocess.run(["sh", "-euc", text], check=True, capture_output=True)
        else:
            run_text(text, names)
    assert [kind for kind, _ in rest] == ["sh", "sh", "python", "sh", "python", "sh", "python", "python"]
    assert (place / "release.key").stat().st_mode & 0o777 == 0o400
    (place / "release.pem").write_bytes((place / "next.pem").read_bytes())
    (place / "calc.so.sig").write_bytes((place / "calc.so.next.sig").read_bytes())
    run_text(first[1], names)
    assert names["calc"].add(2, 2) == 4
    assert "/memfd:midflight:calc" in Path("/proc/self/maps").read_text()


def test_the_message(place, workshop):
    """The one that is shown, with other hashes."""
    library = workshop.library("calc", SOURCE)
    module = midflight.load("calc.so")
    with pytest.raises(midflight.IntegrityError) as refusal:
        midflight.swap(module, expect="0" * 64)
    shown = re.sub(r"\b[0-9a-f]{64}\b", "HASH", words(blocks("")[0][1]))
    told = words(refusal.value).replace(sha256(library), "HASH").replace("0" * 64, "HASH")
    assert told == shown
    assert place == library.parent


def test_in_python_the_same(place, key):
    """As the page says it is done without openssl."""
    subprocess.run(["cc", "-fPIC", "-shared", "-o", "calc.so", "calc.c", "-g"], check=True)
    run_text(re.search(r"`(Path\(\"calc\.so\.sig\"\)\.write_bytes.*?)`", PAGE)[1], {"Path": Path, "key": key})
    assert midflight.load("calc.so", expect=midflight.Signed(key.public_key())).add(1, 2) == 3
    assert (place / "calc.so.sig").stat().st_size == 64


def test_a_stolen_key_signs_until_the_programs_have_another(place, key):
    """And an old library with its old signature is accepted, as the page says."""
    for version in (1, 2):
        (place / "calc.c").write_text(SOURCE.replace("a + b", f"a + b + {version}"))
        subprocess.run(["cc", "-fPIC", "-shared", "-o", f"{version}.so", "calc.c", "-g"], check=True)
        Path(f"{version}.so.sig").write_bytes(key.sign(Path(f"{version}.so").read_bytes()))
    module = midflight.load("2.so", expect=midflight.Signed(key.public_key()))
    midflight.swap(module, "1.so")
    assert module.add(0, 0) == 1
    with pytest.raises(midflight.IntegrityError):
        midflight.swap(module, "1.so", expect=sha256(place / "2.so"))
