"""Catches pointers that lose their type, their version, or what they point to."""

from __future__ import annotations

import ctypes
import gc
import weakref

import pytest

import midflight
from midflight import ArgumentTypeError, Pointer, UnsupportedFunctionError

SOURCE = r"""
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
typedef struct point { int x, y; } point;
struct node { int value; struct node *next; };
typedef struct engine engine_t;
struct engine;
static point corner = {3, 4};
static point corners[3] = {{1, 2}, {3, 4}, {5, 6}};
static double numbers[3] = {1.5, 2.5, 3.5};
static char letters[] = "letters";
static struct node second = {2, 0}, first = {1, &second};
static int hidden;
struct point *get_corner(void) { return &corner; }
const point *get_corners(void) { return corners; }
double *get_numbers(void) { return numbers; }
char *get_letters(void) { return letters; }
unsigned char *get_bytes(void) { return (unsigned char *)letters; }
char **get_names(void) { static char *names[] = {letters, 0}; return names; }
struct node *get_list(void) { return &first; }
void *get_anything(void) { return &corner; }
engine_t *start(void) { return (engine_t *)&hidden; }
int is_engine(struct engine *engine) { return (void *)engine == (void *)&hidden; }
int *get_null(void) { return NULL; }
int sum(const point *p) { return p->x + p->y; }
void shift(point *p, int by) { p->x += by; }
double first_number(const double *p) { return *p; }
long address(const void *p) { return (long)p; }
int same(const int *p) { return p == NULL; }
size_t length(const char *text) { return strlen(text); }
int count_words(int argc, char **argv)
{ int n = 0; for (int i = 0; i < argc; i++) n += (int)strlen(argv[i]); return n; }
int until_null(const char *const *words) { int n = 0; while (words[n]) n++; return n; }
int allocate(size_t size, void **out) { *out = malloc(size); return *out != NULL; }
void release(void *memory) { free(memory); }
void divide(int a, int b, int *quotient, int *rest) { *quotient = a / b; *rest = a % b; }
void find(struct node **out) { *out = &first; }
int pick_value(int which) { return which; }
static int twice(int x) { return 2 * x; }
static int thrice(int x) { return 3 * x; }
typedef int (*operation)(int);
operation choose(int which) { return which == 2 ? twice : which == 3 ? thrice : 0; }
int apply(int (*function)(int), int x) { return function ? function(x) : -1; }
"""


@pytest.fixture(scope="module")
def lib(build):
    return build(SOURCE)


# ---- Pointer


def test_a_pointer_says_what_it_is(lib):
    pointer = lib.get_corner()
    assert type(pointer) is Pointer
    assert pointer.type == "struct point *"
    assert pointer.address == lib.address(pointer)
    assert repr(pointer) == f"<struct point * {pointer.address:#x}>"
    with pytest.raises(TypeError):
        Pointer()
    with pytest.raises(AttributeError):
        pointer.address = 0


def test_null_is_none(lib):
    assert lib.get_null() is None
    assert lib.same(lib.get_null()) == 1


@pytest.mark.here_only("Pointer.contents")
def test_contents_share_the_memory(lib):
    point = lib.get_corner().contents
    before = point.x
    assert isinstance(point, midflight.types(lib).point)
    lib.shift(lib.get_corner(), 10)
    assert point.x == before + 10
    point.x = before
    assert lib.sum(lib.get_corner()) == before + 4


@pytest.mark.here_only("Pointer items")
def test_items_are_numbers_or_views(lib):
    assert [lib.get_numbers()[index] for index in range(3)] == [1.5, 2.5, 3.5]
    assert [lib.get_corners()[index].y for index in range(3)] == [2, 4, 6]
    later = ctypes.c_double.from_address(lib.get_numbers().address + 8)
    assert lib.get_numbers()[1] == later.value
    node = lib.get_list()[0]
    assert node.value == 1, "a field called value isn't the value"
    assert node.next.contents.value == 2
    assert lib.get_letters()[0] == ord("l")
    assert lib.get_bytes()[1] == ord("e")
    assert lib.get_list()[0].next[0].value == 2
    with pytest.raises(TypeError):
        lib.get_numbers()["first"]
    with pytest.raises(IndexError):
        lib.get_numbers()[2**64]


@pytest.mark.here_only("Pointer.string")
def test_text_behind_a_pointer(lib):
    assert lib.get_letters().string() == "letters"
    assert lib.get_bytes().string() == "letters"
    for pointer in (lib.get_numbers(), lib.get_names(), lib.get_corner(), lib.get_anything()):
        with pytest.raises(UnsupportedFunctionError, match="doesn't point to text"):
            pointer.string()


@pytest.mark.here_only("Pointer.contents")
def test_what_an_opaque_pointer_points_to_cant_be_read(lib):
    for pointer in (lib.start(), lib.get_anything(), lib.choose(2)):
        with pytest.raises(UnsupportedFunctionError, match="isn't known"):
            pointer.contents  # noqa: B018 - reading it is the test
        with pytest.raises(UnsupportedFunctionError, match="isn't known"):
            pointer[0]


def test_equality_is_the_address(lib):
    assert lib.get_corner() == lib.get_corner()
    assert lib.get_corner() == lib.get_anything()
    assert lib.get_corner() != lib.get_numbers()
    assert lib.get_corner() != lib.get_corner().address
    assert len({lib.get_corner(), lib.get_corner(), lib.get_numbers()}) == 2
    with pytest.raises(TypeError):
        assert lib.get_corner() < lib.get_corner()


def test_a_pointer_goes_where_its_type_is_wanted(lib):
    assert lib.sum(lib.get_corners()) == 3
    assert lib.sum(lib.get_anything()) == lib.sum(lib.get_corner())
    assert lib.is_engine(lib.start()) == 1
    assert lib.length(lib.get_letters()) == 7
    lib.shift(lib.get_corners(), 0)
    for wrong in (lib.get_numbers(), lib.start(), lib.get_letters(), lib.get_list()):
        with pytest.raises(ArgumentTypeError, match=r"'p' is const point \*, and a pointer of type .* was given"):
            lib.sum(wrong)
    with pytest.raises(ArgumentTypeError, match=r"struct engine \*"):
        lib.is_engine(lib.get_corner())
    with pytest.raises(ArgumentTypeError, match="only a pointer that the library gave"):
        lib.is_engine(bytearray(100))


@pytest.mark.here_only("the new version reads the old one's memory")
def test_a_pointer_keeps_its_version_loaded(swapping):
    lib = swapping(SOURCE)
    pointer = lib.get_corner()
    view = pointer.contents
    swapping(SOURCE.replace("corner = {3, 4}", "corner = {30, 40}"))
    old = midflight.versions(lib)[0]
    assert (old.status, old.held_by) == ("draining", ("1 pointer",))
    assert (view.x, lib.get_corner().contents.x) == (3, 30)
    assert lib.sum(pointer) == 7, "the new version reads the old version's memory"
    another = pointer[0]
    del pointer
    assert midflight.versions(lib)[0].held_by == ("1 pointer",)
    del view, another
    assert midflight.versions(lib)[0].status == "unloaded"


@pytest.mark.here_only("a view of a field")
def test_a_view_of_a_field_keeps_its_version_loaded_too(swapping):
    text = "struct inner { int a[4]; }; struct outer { struct inner part; } it; struct outer *get(void) { return &it; }"
    lib = swapping(text)
    items = lib.get().contents.part.a
    swapping(text.replace("return", "it.part.a[0] = 1; return"))
    assert midflight.versions(lib)[0].held_by == ("1 pointer",)
    items[3] = 7
    del items
    assert midflight.versions(lib)[0].status == "unloaded"


@pytest.mark.here_only("a pointer goes from one version to another")
def test_a_pointer_to_a_struct_that_has_changed_is_refused(swapping):
    text = "struct p { int x; } it = {5}; struct p *get(void) { return &it; } int read(struct p *p) { return p->x; }"
    lib = swapping(text)
    pointer = lib.get()
    assert lib.read(pointer) == 5
    swapping(text.replace("int x;", "int w, x;"), compat="any")
    with pytest.raises(ArgumentTypeError, match="p has 8 bytes now, and 4 are given"):
        lib.read(pointer)


def test_pointers_can_be_referred_to_weakly(lib):
    pointer = lib.get_corner()
    weak = weakref.ref(pointer)
    assert weak() is pointer
    del pointer
    gc.collect()
    assert weak() is None


# ---- pointers to pointers, and results through parameters


@pytest.mark.here_only("pointers to pointers into this process")
def test_argv(lib):
    words = [b"one", b"three", "größe".encode()]
    argv = (ctypes.c_char_p * 4)(*words, None)
    assert lib.count_words(3, argv) == sum(map(len, words))
    assert lib.until_null(argv) == 3
    buffers = [ctypes.create_string_buffer(word) for word in words]
    argv = (ctypes.POINTER(ctypes.c_char) * 3)(*(ctypes.cast(one, ctypes.POINTER(ctypes.c_char)) for one in buffers))
    assert lib.count_words(3, argv) == sum(map(len, words))
    for wrong in ((ctypes.c_int * 4)(), b"words", ["one"], (ctypes.c_int64 * 4)()):
        with pytest.raises(ArgumentTypeError, match="'argv'"):
            lib.count_words(1, wrong)


@pytest.mark.here_only("pointers to pointers")
def test_a_pointer_that_is_filled_in(lib):
    out = ctypes.c_void_p()
    assert lib.allocate(64, out) == 1
    assert out.value
    lib.release(out)
    node = ctypes.POINTER(midflight.types(lib).node)()
    lib.find(node)
    assert node.contents.value == 1
    assert node.contents.next.contents.value == 2


def test_numbers_that_are_filled_in(lib):
    quotient, rest = ctypes.c_int(), ctypes.c_int()
    lib.divide(17, 5, quotient, rest)
    assert (quotient.value, rest.value) == (3, 2)
    lib.divide(17, 5, quotient=ctypes.pointer(quotient), rest=rest)
    for wrong in (ctypes.c_long(), ctypes.c_uint(), ctypes.c_float(), ctypes.pointer(ctypes.c_double())):
        with pytest.raises(ArgumentTypeError, match="'rest'"):
            lib.divide(1, 1, quotient, wrong)


@pytest.mark.here_only("addresses as they stand")
def test_ctypes_pointers_that_fit_anything(lib):
    assert lib.address(ctypes.c_void_p(4096)) == 4096
    assert lib.address(ctypes.c_void_p()) == 0
    number = ctypes.c_double(6.5)
    assert lib.first_number(ctypes.cast(ctypes.pointer(number), ctypes.c_void_p)) == 6.5
    assert lib.length(ctypes.c_char_p(b"four")) == 4
    with pytest.raises(ArgumentTypeError, match="may not be written"):
        lib.divide(1, 1, ctypes.c_char_p(b"four"), ctypes.c_int())


# ---- pointers to functions


def test_a_function_pointer_goes_back_to_the_library(lib):
    twice = lib.choose(2)
    assert type(twice) is Pointer
    assert lib.apply(twice, 21) == 42
    assert lib.apply(lib.choose(3), 5) == 15
    assert lib.choose(9) is None
    assert lib.apply(lib.choose(9), 5) == -1
    with pytest.raises(ArgumentTypeError, match="pointer of type"):
        lib.apply(lib.get_corner(), 1)


@pytest.mark.here_only("a pointer goes from one version to another")
def test_a_function_pointer_keeps_its_version_loaded(swapping):
    lib = swapping(SOURCE)
    twice = lib.choose(2)
    swapping(SOURCE.replace("2 * x", "200 * x"))
    assert lib.apply(twice, 3) == 6
    assert lib.apply(lib.choose(2), 3) == 600
    assert midflight.versions(lib)[0].held_by == ("1 pointer",)
