"""``expect=`` with a SHA-256.

Would catch bytes that are loaded, built from or even parsed though others were expected, a refusal that changes
something or doesn't say both hashes, an option that is lost on its way to the check.
"""

from __future__ import annotations

import asyncio

import pytest

import midflight
from midflight.build import files, store
from tests.hardened.conftest import sha256

OTHER = "0123456789abcdef" * 4


def test_the_expected_bytes_are_loaded(library):
    path = library("calc", 1)
    assert midflight.load(path, expect=sha256(path)).value() == 1
    assert midflight.load(path, expect=sha256(path).upper()).value() == 1


def test_others_are_refused_at_load(library, refused_for_integrity):
    path = library("calc", 1)
    with refused_for_integrity(str(path), sha256(path), OTHER, "nothing was loaded", "get the file again") as refusal:
        midflight.load(path, expect=OTHER)
    assert refusal.error.stage == "resolve"
    assert store.find(sha256(path)) is None  # it wasn't even kept


def test_others_are_refused_at_a_swap(library, refused_for_integrity):
    path, wanted = library("calc", 1), library("wanted", 3)
    module = midflight.load(path)
    library("calc", 2)
    with refused_for_integrity("version 1 of calc goes on running", sha256(wanted), sha256(path)):
        midflight.swap(module, expect=sha256(wanted))
    assert (module.value(), len(midflight.versions(module))) == (1, 1)
    assert midflight.swap(module, expect=sha256(path)).changed
    assert module.value() == 2
    midflight.swap(module, wanted, expect=sha256(wanted))
    assert module.value() == 3


def test_what_is_current_already_is_checked_too(library, refused_for_integrity):
    module = midflight.load(library("calc", 1))
    with refused_for_integrity(OTHER):
        midflight.swap(module, expect=OTHER)


def test_several_modules_or_none(library, refused_for_integrity):
    one, other = midflight.load(library("one", 1)), midflight.load(library("other", 1))
    paths = library("one", 2), library("other", 2)
    with refused_for_integrity("other"), midflight.transaction() as both:
        both.swap(one, expect=sha256(paths[0]))
        both.swap(other, expect=OTHER)
    assert (one.value(), other.value()) == (1, 1)
    with midflight.transaction() as both:
        both.swap(one, expect=sha256(paths[0]))
        both.swap(other, expect=sha256(paths[1]))
    assert (one.value(), other.value()) == (2, 2)


def test_aswap(library, refused_for_integrity):
    module = midflight.load(library("calc", 1))
    library("calc", 2)
    with refused_for_integrity(OTHER):
        asyncio.run(midflight.aswap(module, expect=OTHER))


def test_a_hash_at_load_is_for_that_version_only(library):
    path = library("calc", 1)
    module = midflight.load(path, expect=sha256(path))
    library("calc", 2)
    midflight.swap(module)
    assert module.value() == 2


def test_nothing_reads_what_isnt_expected(workshop, refused_for_integrity):
    """Bytes that no reader would take are refused for their hash, and only once that is right for what they are."""
    path = workshop.write("calc.so", "\x7fELF and nothing more")
    with refused_for_integrity(sha256(path), OTHER):
        midflight.load(path, expect=OTHER)
    with pytest.raises(midflight.BadLibraryError):
        midflight.load(path, expect=sha256(path))


def test_nothing_is_built_around_an_unexpected_go_plugin(workshop, monkeypatch, refused_for_integrity):
    """A ready Go plugin is compiled into a program of its own, and opened to be described: after the check."""
    monkeypatch.setenv("GO", "/bin/false")
    path = workshop.write("plugin.so", "\x7fELF build\t-buildmode=plugin\n")
    with refused_for_integrity(sha256(path), OTHER):
        midflight.load(path, expect=OTHER)
    with pytest.raises(midflight.CompilerNotFoundError):
        midflight.load(path, expect=sha256(path))


def test_what_is_built_here(workshop, refused_for_integrity):
    """The hash of the built library, for those whose builds always give the same."""
    source = workshop.write("calc.c", "int value(void) { return 1; }")
    built = midflight.versions(midflight.load(source))[0].artifact
    assert midflight.load(source, expect=built).value() == 1
    workshop.write("calc.c", "int value(void) { return 2; }")
    with refused_for_integrity("calc.c", built, "nothing was loaded"):
        midflight.load(source, expect=built)


def test_what_a_command_builds(library, refused_for_integrity):
    path = library("calc", 1)
    assert midflight.load(build="true", artifact=path, expect=sha256(path)).value() == 1
    with refused_for_integrity(OTHER, sha256(path)):
        midflight.load(build="true", artifact=path, expect=OTHER)


@pytest.mark.parametrize("nonsense", ["", "abc", "g" * 64, "0" * 63, b"\0" * 32, 5, True, ["0" * 64]])
def test_what_is_no_hash(library, nonsense):
    path = library("calc", 1)
    with pytest.raises(midflight.SourceError, match=r"no SHA-256 and no signature.*64 hexadecimal digits"):
        midflight.load(path, expect=nonsense)
    module = midflight.load(path)
    with pytest.raises(midflight.SourceError, match="no SHA-256"):
        midflight.swap(module, expect=nonsense)


def test_code_that_runs_elsewhere_has_no_bytes_here(tmp_path, library):
    module = midflight.load(library("calc", 1))
    address = f"unix:{tmp_path}/calc.sock"
    with midflight.offer(module, address):
        for options in ({"expect": OTHER}, {"hardened": True}):
            with pytest.raises(midflight.SourceError, match="where it is loaded"):
                midflight.load(lane=address, **options)


# ---- between the check and the use ----------------------------------------------------------------------------------


def test_a_file_that_is_replaced_after_it_was_read(library, monkeypatch):
    """What is checked, probed and mapped are the bytes that were read once."""
    path, evil = library("calc", 1), library("evil", 666)
    expected, read = sha256(path), files.read_stable

    def read_then_replaced(file, **rest):
        data = read(file, **rest)
        if file == path:
            evil.replace(path)
        return data

    monkeypatch.setattr(files, "read_stable", read_then_replaced)
    module = midflight.load(path, expect=expected, hardened=True)
    assert module.value() == 1
    assert midflight.versions(module)[0].artifact == expected != sha256(path)


def test_a_file_that_is_replaced_before_it_is_read(library, monkeypatch, refused_for_integrity):
    path, evil = library("calc", 1), library("evil", 666)
    expected, read = sha256(path), files.read_stable

    def replaced_then_read(file, **rest):
        if file == path:
            evil.replace(path)
        return read(file, **rest)

    monkeypatch.setattr(files, "read_stable", replaced_then_read)
    with refused_for_integrity(expected):
        midflight.load(path, expect=expected, hardened=True)


@pytest.mark.parametrize("how", ["written over", "replaced"])
def test_the_stored_copy_is_changed_between(library, monkeypatch, how):
    """Whoever changes the store's copy in between changes nothing that is loaded."""
    path, evil = library("calc", 1), library("evil", 666)
    put = store.put

    def put_then_changed(data):
        stored = put(data)
        stored.path.chmod(0o600)
        if how == "replaced":
            stored.path.unlink()
        stored.path.write_bytes(evil.read_bytes())
        stored.path.chmod(0o400)
        return stored

    monkeypatch.setattr(store, "put", put_then_changed)
    with pytest.raises(midflight.BadLibraryError, match="don't match their SHA-256"):
        midflight.load(path, expect=sha256(path), hardened=True)
