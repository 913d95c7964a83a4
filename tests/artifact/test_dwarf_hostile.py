"""Would catch bytes that make the reader crash, hang, or raise anything but midflight's own errors."""

from __future__ import annotations

import random
import struct

import pytest

from midflight import MidflightError
from midflight._errors import BadLibraryError, InterfaceError, WrongMachineError
from midflight.artifact.dwarf import reader as dwarf
from midflight.artifact.elf import Elf, exported_symbols
from midflight.cli.diff import Side
from tests.fuzz import judge

SOURCE = """
struct node { struct node *next; int a : 3, b : 9; union { long i; double d; }; char name[8]; };
enum color { RED, GREEN = 7 };
typedef int (*callback)(struct node *, enum color);
static double hidden = 1.5;
int counter = 3;
int walk(const struct node *n, callback f) { static int calls; calls++; hidden += 1; return f((struct node *)n, RED); }
int add(int a, int b) { return a + b + counter; }
"""


def use(data):
    """Do with a library what midflight does, all but calling it."""
    interface = dwarf.read(data)
    judge.use(interface, Side("itself", interface, data, None), data)


def try_to_use(data):
    """Tell whether the bytes could be read; only midflight's own errors may come out."""
    try:
        use(data)
    except MidflightError:
        return False
    return True


@pytest.fixture(scope="module")
def library(compile_library):
    return compile_library(SOURCE)


def debug_ranges(data):
    """The places of all sections that the reader looks into."""
    found = [
        range(section.offset, section.offset + section.size)
        for section in Elf(data).sections.values()
        if section.name.startswith((".debug", ".dyn", ".gnu.version"))
    ]
    header_and_sections = [range(64), range(struct.unpack_from("<Q", data, 40)[0], len(data))]
    return [one for one in found + header_and_sections if len(one)]


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bytes(library, seed):
    dice = random.Random(seed)
    ranges = debug_ranges(library)
    for _ in range(20):
        data = bytearray(library)
        for _ in range(dice.choice([1, 1, 2, 8])):
            data[dice.choice(dice.choice(ranges))] = dice.choice([0, 0xFF, 0x80, dice.randrange(256)])
        try_to_use(bytes(data))


@pytest.mark.parametrize("compiler", ["g++", "clang", "rustc"])
def test_flipped_bytes_of_other_compilers(compile_library, compiler):
    text = """
        extern "C" int add(int a, int b) { return a + b; }
        namespace n { struct s { int i; }; int f(s &x) { return x.i; } }
    """
    if compiler == "rustc":
        text = '#[repr(C)] pub struct S { a: i32 } #[no_mangle] pub extern "C" fn f(s: &S) -> i32 { s.a }'
    elif compiler == "clang":
        text = SOURCE
    data = compile_library(text, compiler=compiler)
    info = Elf(data).sections[".debug_info"]
    dice = random.Random(7)
    for _ in range(20):
        changed = bytearray(data)
        for _ in range(3):
            changed[info.offset + dice.randrange(min(info.size, 2000))] = dice.randrange(256)
        try_to_use(bytes(changed))


@pytest.mark.parametrize("part", range(40))
def test_truncated(library, part):
    with pytest.raises(MidflightError):
        use(library[: len(library) * part // 40])


def test_shuffled_type_references(library):
    """References that lead to other entries: recursive and senseless types."""
    info = Elf(library).sections[".debug_info"]
    dice = random.Random(3)
    for _ in range(100):
        data = bytearray(library)
        for _ in range(6):
            at = info.offset + dice.randrange(info.size - 4)
            struct.pack_into("<I", data, at, dice.randrange(info.size))
        try_to_use(bytes(data))


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", BadLibraryError, "empty"),
        (b"int add(int a, int b);", BadLibraryError, "isn't an ELF"),
        (b"\x7fELF", BadLibraryError, "truncated"),
        (b"\x7fELF\x01\x01" + b"\0" * 100, WrongMachineError, "64-bit little-endian"),
        (b"\x7fELF\x02\x02" + b"\0" * 100, WrongMachineError, "64-bit little-endian"),
    ],
)
def test_no_library(data, error, words):
    with pytest.raises(error, match=words):
        dwarf.read(data)


def test_without_debug_information(compile_library):
    data = compile_library(SOURCE, "-g0")
    with pytest.raises(InterfaceError, match=r"no debug information.*build it with -g.*interface="):
        dwarf.read(data)
    assert exported_symbols(data) >= {"walk", "add", "counter"}


def test_split_debug_information(compile_library):
    with pytest.raises(InterfaceError, match=r"dwo.*-gsplit-dwarf"):
        dwarf.read(compile_library(SOURCE, "-gsplit-dwarf"))


def test_exported_symbols_without_a_section_table(compile_library):
    data = bytearray(compile_library(SOURCE))
    struct.pack_into("<Q", data, 40, 0)
    struct.pack_into("<HHH", data, 58, 0, 0, 0)
    assert exported_symbols(bytes(data)) >= {"walk", "add", "counter"}


def test_a_section_that_claims_to_be_huge_when_decompressed(compile_library):
    data = bytearray(compile_library(SOURCE, "-gz=zlib"))
    compressed = [section for section in Elf(bytes(data)).sections.values() if section.flags & 0x800]
    assert compressed
    for section in compressed:
        struct.pack_into("<Q", data, section.offset + 8, 1 << 31)
    with pytest.raises(BadLibraryError, match="claims to be"):
        dwarf.read(bytes(data))


def test_functions_that_nothing_is_said_about(read_library):
    bare = '__asm__(".globl bare\\n.type bare, @function\\nbare: ret\\n");'
    interface = read_library(f"int known(void) {{ return 1; }}\n{bare}")
    assert interface.unknown == ("bare",)
    assert [function.name for function in interface.functions] == ["known"]
