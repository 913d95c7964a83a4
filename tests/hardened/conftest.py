"""Small libraries, an Ed25519 key, and a user who isn't us."""

from __future__ import annotations

import hashlib
import os

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import midflight

STRANGER = 54321
"""The number of another user.  The tests run as root, so that files can be given to him."""


@pytest.fixture(autouse=True)
def _by_root():
    assert os.geteuid() == 0, "these tests give files to another user, which takes root"


@pytest.fixture
def key():
    """A private key."""
    return Ed25519PrivateKey.generate()


@pytest.fixture
def library(workshop):
    """Return a function that makes a library whose ``value`` returns a number."""

    def make(name, value):
        return workshop.library(name, f"int value(void) {{ return {value}; }}")

    return make


@pytest.fixture
def sign(key):
    """Return a function that signs a library into the file beside it."""

    def make(path, by=key):
        path.with_name(f"{path.name}.sig").write_bytes(by.sign(path.read_bytes()))
        return path

    return make


def sha256(path):
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def refused_for_integrity():
    """Return a context in which an `IntegrityError` has to be raised that says all of some words."""

    class Refusal:
        def __init__(self, *words):
            self.words = words

        def __enter__(self):
            return self

        def __exit__(self, kind, error, _traceback):
            assert kind is midflight.IntegrityError, f"{kind}: {error}"
            for word in self.words:
                assert word in str(error), f"{word!r} isn't in {error}"
            assert error.todo
            self.error = error
            return True

    return Refusal
