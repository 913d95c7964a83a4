"""Catches exceptions that get lost between a Python function and the caller of the native code that called it."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest

from midflight import _core


def fail(*_):
    raise LookupError("mine")


def test_it_returns_what_the_function_does():
    assert _core.Callback(lambda a, b: a + b, 0, print)(1, 2) == 3


def test_outside_of_a_call_the_exception_is_handed_over():
    unheard = []
    assert _core.Callback(fail, 7, unheard.append)(1) == 7
    assert isinstance(unheard[0], LookupError)
    assert unheard[0].__traceback__ is not None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_when_even_that_fails_it_is_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: shown.append(unraisable.exc_value))
    assert _core.Callback(fail, 7, fail)(1) == 7
    assert isinstance(shown[0], LookupError)


@pytest.mark.parametrize(
    "arguments", [(), (print,), (print, 0), (5, 0, print), (print, 0, 5), (print, 0, None)], ids=repr
)
def test_wrong_arguments(arguments):
    with pytest.raises(TypeError):
        _core.Callback(*arguments)


def test_it_keeps_and_lets_go_of_its_parts():
    class Part:
        def __call__(self, *_):
            raise LookupError

    function, fallback, unheard = Part(), Part(), Part()
    weak = [weakref.ref(one) for one in (function, fallback, unheard)]
    made = _core.Callback(function, fallback, lambda _: None)
    function.made = made  # a cycle
    assert made() is fallback
    del function, fallback, unheard, made
    gc.collect()
    assert [one() for one in weak] == [None] * 3
