"""``expect=Signed(key)``.

Would catch a library that is loaded without a signature of the module's key, a swap, a watcher or a way back that goes
around it, a key or a signature that is misread.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import midflight
from midflight import Signed
from tests.hardened.conftest import sha256

PEM = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
OTHER = "0" * 64


def written(path, data):
    path.write_bytes(data)
    return path


FORMS = {
    "object": lambda key, _: key,
    "bytes": lambda key, _: key.public_bytes_raw(),
    "bytearray": lambda key, _: bytearray(key.public_bytes_raw()),
    "PEM": lambda key, _: key.public_bytes(*PEM).decode(),
    "PEM as bytes": lambda key, _: key.public_bytes(*PEM),
    "PEM in a file": lambda key, at: written(at / "key.pem", key.public_bytes(*PEM)),
    "bytes in a file": lambda key, at: str(written(at / "key", key.public_bytes_raw())),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_the_key(form, key, library, sign, tmp_path, refused_for_integrity):
    given = FORMS[form](key.public_key(), tmp_path)
    path = sign(library("calc", 1))
    assert midflight.load(path, expect=Signed(given)).value() == 1
    sign(path, by=Ed25519PrivateKey.generate())
    with refused_for_integrity(str(path), sha256(path), "SHA256:", "nothing was loaded", "sign this very file"):
        midflight.load(path, expect=Signed(given))


def test_each_form_of_the_signature(key, library, tmp_path):
    path = library("calc", 1)
    signature = key.sign(path.read_bytes())
    beside = written(tmp_path / "elsewhere", signature)
    public = key.public_key()
    for given in (signature, bytearray(signature), beside, str(beside)):
        assert midflight.load(path, expect=Signed(public, given)).value() == 1


def test_made_by_openssl(library, tmp_path):
    """With the commands that docs/hardened.md shows."""
    path, private, public = library("calc", 1), tmp_path / "key.pem", tmp_path / "public.pem"
    for command in (
        ["openssl", "genpkey", "-algorithm", "ed25519", "-out", private],
        ["openssl", "pkey", "-in", private, "-pubout", "-out", public],
        ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", private, "-in", path, "-out", f"{path}.sig"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    assert midflight.load(path, expect=Signed(public)).value() == 1
    with pytest.raises(midflight.IntegrityError, match="no Ed25519 public key"):
        Signed(private)  # the private half


def test_the_key_is_read_once(key, library, sign, tmp_path):
    file = written(tmp_path / "key", key.public_key().public_bytes_raw())
    expected = Signed(file)
    file.write_bytes(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    assert midflight.load(sign(library("calc", 1)), expect=expected).value() == 1


def test_it_says_which_key(key):
    assert repr(Signed(key.public_key())).startswith("<Signed by SHA256:")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Ed25519PrivateKey.generate, "it is a private key"),
        (lambda: x25519.X25519PrivateKey.generate().public_key().public_bytes(*PEM), "of another kind"),
        (lambda: rsa.generate_private_key(65537, 2048).public_key().public_bytes(*PEM).decode(), "of another kind"),
        (lambda: b"\0" * 31, "can't be read"),
        (lambda: b"", "can't be read"),
        (lambda: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "can't be read"),
        (lambda: "/nowhere/key.pem", "there is no such file"),
        (lambda: "/", "a directory"),
        (lambda: 5, "it is a int"),
        (lambda: None, "it is a NoneType"),
    ],
)
def test_what_is_no_key(make, words, refused_for_integrity):
    with refused_for_integrity("this is no Ed25519 public key", words, "give 32 bytes, PEM text"):
        Signed(make())


@pytest.mark.parametrize("size", [0, 63, 65, 128])
def test_what_is_no_signature(size, key, library, refused_for_integrity):
    path = library("calc", 1)
    with refused_for_integrity("this is no Ed25519 signature", "openssl pkeyutl"):
        Signed(key.public_key(), b"\0" * size)
    path.with_name("calc.so.sig").write_bytes(b"\0" * size)
    with refused_for_integrity("this is no Ed25519 signature", "calc.so.sig", "nothing was loaded"):
        midflight.load(path, expect=Signed(key.public_key()))


def test_a_signature_that_isnt_there(key, library, refused_for_integrity):
    path = library("calc", 1)
    with refused_for_integrity("calc.so.sig can't be read: there is no such file", "put the library's signature there"):
        midflight.load(path, expect=Signed(key.public_key()))


def test_what_is_built_here_has_nothing_beside_it(key, workshop, refused_for_integrity):
    source = workshop.write("calc.c", "int value(void) { return 1; }")
    with refused_for_integrity("no file for one to lie beside", "signature=..."):
        midflight.load(source, expect=Signed(key.public_key()))
    data = midflight.build.store.read(midflight.versions(midflight.load(source))[0].artifact)
    assert midflight.load(source, expect=Signed(key.public_key(), key.sign(data))).value() == 1


def test_without_the_package(tmp_path):
    """In an interpreter of its own that can't import it."""
    code = (
        "import sys; sys.modules['cryptography'] = None; import midflight\n"
        "try: midflight.Signed(bytes(32))\n"
        "except midflight.IntegrityError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert "cryptography isn't installed; pip install 'midflight[signing]'" in done.stdout


# ---- for the module's whole life ------------------------------------------------------------------------------------


@pytest.fixture
def signed_module(key, library, sign):
    """A module that was loaded with a key."""
    return midflight.load(sign(library("calc", 1)), expect=Signed(key.public_key()))


def test_a_key_holds_for_later_swaps(signed_module, library, sign, refused_for_integrity):
    path = library("calc", 2)  # its signature is still the first version's
    for options in ({}, {"expect": sha256(path)}, {"source": path}):
        with refused_for_integrity("version 1 of calc goes on running"):
            midflight.swap(signed_module, **options)
    assert signed_module.value() == 1
    sign(path)
    midflight.swap(signed_module, expect=sha256(path))
    assert signed_module.value() == 2


def test_another_library_needs_its_signature_too(signed_module, library, sign, refused_for_integrity):
    other = library("other", 3)
    with refused_for_integrity("other.so.sig"):
        midflight.swap(signed_module, other)
    midflight.swap(signed_module, sign(other))
    assert signed_module.value() == 3


def test_a_source_cannot_take_a_signed_librarys_place(signed_module, workshop, refused_for_integrity):
    with refused_for_integrity("what is built here"):
        midflight.swap(signed_module, workshop.write("calc.c", "int value(void) { return 4; }"))


def test_what_a_swap_expects_holds_besides(signed_module, key, library, sign, tmp_path, refused_for_integrity):
    path = library("calc", 2)
    stranger = Ed25519PrivateKey.generate()
    sign(path, by=stranger)
    with refused_for_integrity("version 1 of calc goes on running"):
        midflight.swap(signed_module, expect=Signed(stranger.public_key()))
    sign(path)
    with refused_for_integrity(OTHER):
        midflight.swap(signed_module, expect=OTHER)
    # The same key, and where this version's signature is.
    path.with_name("calc.so.sig").unlink()
    elsewhere = written(tmp_path / "elsewhere", key.sign(path.read_bytes()))
    midflight.swap(signed_module, expect=Signed(key.public_key(), elsewhere))
    assert signed_module.value() == 2


def test_a_signature_that_was_given_is_for_that_version_only(key, library):
    path = library("calc", 1)
    module = midflight.load(path, expect=Signed(key.public_key(), key.sign(path.read_bytes())))
    library("calc", 2)
    midflight.swap(module)
    assert module.value() == 2


def test_the_place_of_a_signature_holds(key, library, tmp_path, refused_for_integrity):
    path = library("calc", 1)
    place = written(tmp_path / "elsewhere", key.sign(path.read_bytes()))
    module = midflight.load(path, expect=Signed(key.public_key(), place))
    library("calc", 2)
    with refused_for_integrity("version 1"):
        midflight.swap(module)
    place.write_bytes(key.sign(path.read_bytes()))
    midflight.swap(module)
    assert module.value() == 2


def test_rollback_goes_to_what_was_checked(signed_module, library, sign):
    """The file is long gone, or somebody else's: the version before is kept by its SHA-256."""
    path = sign(library("calc", 2))
    midflight.swap(signed_module)
    path.write_bytes(b"evil")
    path.with_name("calc.so.sig").unlink()
    first = midflight.versions(signed_module)[0].artifact
    midflight.rollback(signed_module)
    assert signed_module.value() == 1
    assert midflight.versions(signed_module)[-1].artifact == first


def test_rollback_to_a_copy_that_was_changed(signed_module, library, sign):
    midflight.swap(signed_module, sign(library("other", 2)))
    stored = midflight.build.store.path_of(midflight.versions(signed_module)[0].artifact)
    stored.chmod(0o600)
    stored.write_bytes(library("evil", 666).read_bytes())
    with pytest.raises(midflight.BadLibraryError, match="was changed"):
        midflight.rollback(signed_module)
    assert signed_module.value() == 2


def test_a_watcher_waits_for_the_signature(signed_module, library, sign):
    """Whatever is saved first, the library or its signature."""
    refused, swapped = threading.Event(), threading.Event()
    end = midflight.subscribe(lambda event: (refused if isinstance(event, midflight.Refused) else swapped).set())
    with contextlib.closing(SimpleNamespace(close=end)), midflight.watch(signed_module) as watcher:
        assert watcher.wait_ready(10)
        path = library("calc", 2)
        assert refused.wait(20)
        assert signed_module.value() == 1
        sign(path)
        assert swapped.wait(20)
    assert signed_module.value() == 2
