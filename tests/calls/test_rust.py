"""Catches Rust's extern "C" functions being called otherwise than C's."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest

import midflight

SOURCE = r"""
#[repr(C)] pub struct Point { x: f64, y: f64 }
#[repr(i32)] #[derive(Clone, Copy)] pub enum Side { Left = 1, Right = 2 }
#[no_mangle] pub extern "C" fn add(left: i32, right: i32) -> i32 { left + right }
#[no_mangle] pub extern "C" fn norm(point: &Point) -> f64 { (point.x * point.x + point.y * point.y).sqrt() }
#[no_mangle] pub extern "C" fn scale(point: Point, by: f64) -> Point { Point { x: point.x * by, y: point.y * by } }
#[no_mangle] pub extern "C" fn is_even(number: u64) -> bool { number % 2 == 0 }
#[no_mangle] pub unsafe extern "C" fn sum(items: *const f32, count: usize) -> f32 {
    (0..count).map(|index| unsafe { *items.add(index) }).sum() }
#[no_mangle] pub extern "C" fn flip(side: Side) -> Side {
    match side { Side::Left => Side::Right, Side::Right => Side::Left } }
#[no_mangle] pub extern "C" fn apply(function: extern "C" fn(i32) -> i32, to: i32) -> i32 { function(to) + 1 }
"""


@pytest.fixture(scope="module")
def lib(build):
    return build(SOURCE, "lib.rs")


def test_numbers(lib):
    assert lib.add(2, 3) == 5
    assert lib.is_even(2**64 - 2) is True
    with pytest.raises(midflight.ArgumentRangeError, match="'left'"):
        lib.add(2**31, 0)


def test_structs_and_arrays(lib):
    point = midflight.types(lib).Point(3.0, 4.0)
    assert lib.norm(point) == 5.0
    scaled = lib.scale(point, 2.0)
    assert (scaled.x, scaled.y) == (6.0, 8.0)
    assert lib.sum(np.array([0.5, 1.5], dtype="f4"), 2) == 2.0
    assert math.isclose(lib.sum((ctypes.c_float * 2)(1, 2), 2), 3.0)


def test_enums_and_callbacks(lib):
    side = midflight.types(lib).Side
    assert lib.flip(side.Left) is side.Right
    assert lib.apply(lambda number: number * 10, 4) == 41
