"""Rows of test_matrix: numbers, and what is made of them."""

from __future__ import annotations

from tests.carry.cells import TYPES, VALUES, Cell, Row, always, became, refused

NUMBERS = [
    Row(
        "int",
        ("number",),
        "int number = 1;",
        "number = 300;",
        "number == 300",
        {
            "grown": (became("number", "int is long now", "long number = 1;"),),
            "shrunk": (
                became("number", "int is short now", "short number = 1;"),
                refused("int8_t number = 1;", "number: 300 does not fit int8_t", at=VALUES),
            ),
            "type changed": (
                became("number", "int is double now", "double number = 1;"),
                refused("struct number { int a, b; } number;", "number: int is struct number now", at=TYPES),
            ),
        },
    ),
    Row(
        "float",
        ("ratio",),
        "float ratio = 0.5f;",
        "ratio = 1.25f;",
        "ratio == 1.25f",
        {
            "grown": (became("ratio", "float is double now", "double ratio = 0.5;"),),
            "type changed": (refused("int ratio = 1;", "ratio: 1.25 can't be held exactly by int", at=VALUES),),
        },
    ),
    Row(
        "double",
        ("precise", "whole"),
        "double precise = 0.5, whole = 0.5;",
        "precise = 0.1; whole = 8.0;",
        "precise == 0.1 && whole == 8",
        {
            "shrunk": (
                became("whole", "double is float now", "double precise = 0.5; float whole = 1;", precise="carried"),
                refused(
                    "float precise = 0.5; double whole = 1;", "precise: 0.1 can't be held exactly by float", at=VALUES
                ),
            ),
            "type changed": (
                became("whole", "double is int now", "double precise = 0.5; int whole = 1;", precise="carried"),
            ),
        },
    ),
    Row(
        "enum",
        ("paint",),
        "enum color { RED, GREEN = 5, BLUE }; struct paint { enum color color; int coats; } paint = {GREEN, 1};",
        "paint.color = BLUE; paint.coats = 2;",
        "paint.color == BLUE && paint.coats == 2",
        {
            "reordered": (
                became(
                    "paint",
                    "color: enumerator RED = 0 is 2 now; color: enumerator GREEN = 5 is 1 now;"
                    " color: enumerator BLUE = 6 is 0 now; color, coats moved",
                    "enum color { BLUE, GREEN, RED }; struct paint { int coats; enum color color; } paint;",
                ),
            ),
            "grown": (
                Cell(
                    "enum color { RED, GREEN = 5, BLUE, PINK }; struct paint { enum color color; int coats; } paint;",
                    says={"paint": "carried"},
                ),
            ),
            "shrunk": (
                became(
                    "paint",
                    "color: enumerator GREEN is gone",
                    "enum color { RED, BLUE = 6 }; struct paint { enum color color; int coats; } paint;",
                ),
                refused(
                    "enum color { RED, GREEN = 5 }; struct paint { enum color color; int coats; } paint;",
                    "paint.color: BLUE (6) is no enumerator of enum color",
                    at=VALUES,
                ),
            ),
            "type changed": (
                became(
                    "paint",
                    "color: enum color is int now",
                    "struct paint { int color, coats; } paint;",
                    "paint.color == 6 && paint.coats == 2",
                ),
            ),
        },
    ),
    Row(
        "bit-field",
        ("flags",),
        "struct flags { unsigned few : 3, many : 9; int sign : 4; } flags = {1, 2, 3};",
        "flags.few = 5; flags.many = 300; flags.sign = -3;",
        "flags.few == 5 && flags.many == 300 && flags.sign == -3",
        {
            "reordered": (
                became(
                    "flags",
                    "few, many, sign moved",
                    "struct flags { int sign : 4; unsigned many : 9, few : 3; } flags;",
                ),
            ),
            "grown": (
                became(
                    "flags",
                    "many: unsigned int : 9 is unsigned int : 20 now; sign moved",
                    "struct flags { unsigned few : 3, many : 20; int sign : 4; } flags;",
                ),
            ),
            "shrunk": (
                became(
                    "flags",
                    "sign: int : 4 is int : 3 now",
                    "struct flags { unsigned few : 3, many : 9; int sign : 3; } flags;",
                ),
                refused(
                    "struct flags { unsigned few : 3, many : 8; int sign : 4; } flags;",
                    "flags.many: 300 does not fit unsigned int : 8",
                    at=VALUES,
                ),
            ),
            "type changed": (
                became(
                    "flags",
                    "many: unsigned int : 9 is long now; few, many, sign moved",
                    "struct flags { long many; unsigned few : 3; int sign : 4; } flags;",
                ),
                refused(
                    "struct flags { float few; unsigned many : 9; int sign : 4; } flags;",
                    "flags.few: a bit-field and a floating-point number can't be made from each other"
                    " (unsigned int : 3 → float)",
                    at=TYPES,
                ),
            ),
        },
    ),
]

COMPOUNDS = [
    Row(
        "struct",
        ("point",),
        "struct point { int x; short y; } point = {1, 2};",
        "point.x = 300; point.y = -7;",
        "point.x == 300 && point.y == -7",
        {
            "reordered": (became("point", "x, y moved", "struct point { short y; int x; } point;"),),
            "grown": (
                became(
                    "point",
                    "z is new",
                    "struct point { int x; short y; int z; } point = {1, 2, 3};",
                    "point.x == 300 && point.y == -7 && point.z == 3",
                ),
            ),
            "shrunk": (became("point", "y is gone", "struct point { int x; } point;", "point.x == 300"),),
            "type changed": (
                became(
                    "point",
                    "x: int is long now; y: short is int now; y moved",
                    "struct point { long x; int y; } point;",
                ),
                refused("struct point { int8_t x; short y; } point;", "point.x: 300 does not fit int8_t", at=VALUES),
                refused(
                    "struct point { int x; struct { int low; } y; } point;",
                    "point.y: short is struct {…} now",
                    at=TYPES,
                ),
            ),
        },
    ),
    Row(
        "array",
        ("table", "sparse"),
        "int table[4] = {1, 2, 3, 4}, sparse[4] = {0, 1};",
        "table[2] = 300; sparse[1] = 7;",
        "table[0] == 1 && table[2] == 300 && sparse[1] == 7",
        {
            "grown": (
                Cell(
                    "int table[6] = {9, 9, 9, 9, 5, 6}, sparse[5];",
                    "table[0] == 1 && table[2] == 300 && table[5] == 6 && sparse[1] == 7",
                    {
                        "table": "migrated (grew from 4 to 6 elements)",
                        "sparse": "migrated (grew from 4 to 5 elements)",
                    },
                ),
            ),
            "shrunk": (
                became("sparse", "shrank from 4 to 2 elements", "int table[4], sparse[2];", table="carried"),
                refused(
                    "int table[3], sparse[4];",
                    "table[3]: there is something in the part that the new version has no room for",
                    at=VALUES,
                ),
            ),
            "type changed": (
                became("table", "[]: int is long now", "long table[4]; int sparse[4];", sparse="carried"),
                refused("int8_t table[4]; int sparse[4];", "table[2]: 300 does not fit int8_t", at=VALUES),
                refused("int table, sparse[4];", "table: int[4] is int now", at=TYPES, check="table"),
            ),
        },
    ),
    Row(
        "text",
        ("word",),
        'char word[16] = "a";',
        'strcpy(word, "hello");',
        'strcmp(word, "hello") == 0',
        {
            "grown": (became("word", "grew from 16 to 32 elements", 'char word[32] = "b";'),),
            "shrunk": (
                became("word", "shrank from 16 to 6 elements", 'char word[6] = "b";'),
                refused(
                    'char word[5] = "b";',
                    "word: there is something in the part that the new version has no room for",
                    at=VALUES,
                ),
            ),
            "type changed": (
                refused("struct word { char text[16]; } word;", "word: char[16] is struct word now", at=TYPES),
            ),
        },
    ),
    Row(
        "nested",
        ("outer",),
        "struct inner { int hp; short id; }; struct outer { struct inner of[3]; int count; } outer;",
        "outer.of[1].hp = 300; outer.of[2].id = 4; outer.count = 3;",
        "outer.of[1].hp == 300 && outer.of[2].id == 4 && outer.count == 3",
        {
            "reordered": (
                became(
                    "outer",
                    "of[]: hp, id moved; of, count moved",
                    "struct inner { short id; int hp; }; struct outer { int count; struct inner of[3]; } outer;",
                ),
            ),
            "grown": (
                became(
                    "outer",
                    "of grew from 3 to 4 elements; of[].level is new; count moved",
                    "struct inner { int hp; short id; int level; };"
                    "struct outer { struct inner of[4]; int count; } outer;",
                ),
            ),
            "shrunk": (
                became(
                    "outer",
                    "of[].id is gone; count moved",
                    "struct inner { int hp; }; struct outer { struct inner of[3]; int count; } outer;",
                    "outer.of[1].hp == 300 && outer.count == 3",
                ),
                refused(
                    "struct inner { int hp; short id; }; struct outer { struct inner of[2]; int count; } outer;",
                    "outer.of[2]: there is something in the part that the new version has no room for",
                    at=VALUES,
                ),
            ),
            "type changed": (
                refused(
                    "struct inner { int8_t hp; short id; }; struct outer { struct inner of[3]; int count; } outer;",
                    "outer.of[1].hp: 300 does not fit int8_t",
                    at=VALUES,
                ),
                refused(
                    "struct inner { int *hp; short id; }; struct outer { struct inner of[3]; int count; } outer;",
                    "outer.of[].hp: int is int * now",
                    at=TYPES,
                ),
            ),
        },
    ),
    Row(
        "union",
        ("box",),
        "union either { int n; float f; }; struct box { union either is; int tag; } box;",
        "box.is.f = 1.5f; box.tag = 2;",
        "box.is.f == 1.5f && box.tag == 2",
        {
            "reordered": (
                became(
                    "box",
                    "is, tag moved",
                    "union either { int n; float f; }; struct box { int tag; union either is; } box;",
                ),
            ),
            "grown": (
                refused(
                    "union either { int n; float f; double d; }; struct box { union either is; int tag; } box;",
                    "box.is: union either is a union, and it isn't the same any more",
                    at=TYPES,
                ),
            ),
            "shrunk": (
                refused(
                    "union either { float f; }; struct box { union either is; int tag; } box;",
                    "box.is: union either is a union, and it isn't the same any more",
                    at=TYPES,
                ),
            ),
            "type changed": (
                refused(
                    "struct either { int n; float f; }; struct box { struct either is; int tag; } box;",
                    "box.is: union either is a union, and it isn't the same any more",
                    at=TYPES,
                ),
            ),
        },
    ),
    Row(
        "thread_local",
        ("own",),
        "_Thread_local int own = 1;",
        "own = 5;",
        "own == 5",
        {
            column: (Cell(text, "own == 1", {"own": "left (every thread has its own (thread_local))"}),)
            for column, text in {
                "unchanged": None,
                "moved": None,
                "reordered": None,
                "grown": "_Thread_local long own = 1;",
                "shrunk": "_Thread_local char own = 1;",
                "type changed": "int own = 1;",
            }.items()
        },
    ),
    Row(
        "unlocked mutex",
        ("guarded",),
        "struct guarded { pthread_mutex_t mutex; int count; } guarded = {PTHREAD_MUTEX_INITIALIZER, 1};",
        "pthread_mutex_lock(&guarded.mutex); guarded.count = 3; pthread_mutex_unlock(&guarded.mutex);",
        "guarded.count == 3 && pthread_mutex_trylock(&guarded.mutex) == 0 && pthread_mutex_unlock(&guarded.mutex) == 0",
        {
            "reordered": (
                became(
                    "guarded", "mutex, count moved", "struct guarded { int count; pthread_mutex_t mutex; } guarded;"
                ),
            ),
            "grown": (
                became(
                    "guarded",
                    "more is new",
                    "struct guarded { pthread_mutex_t mutex; int count, more[8]; } guarded;",
                ),
            ),
            "shrunk": (
                became(
                    "guarded",
                    "mutex is gone; count moved",
                    "struct guarded { int count; } guarded;",
                    "guarded.count == 3",
                ),
            ),
            "type changed": (
                refused(
                    "struct guarded { pthread_rwlock_t mutex; int count; } guarded;",
                    "guarded.mutex: pthread_mutex_t is pthread_rwlock_t now",
                    at=TYPES,
                ),
            ),
        },
    ),
    Row(
        "locked mutex",
        ("held",),
        "struct held { pthread_mutex_t mutex; int count; } held = {PTHREAD_MUTEX_INITIALIZER, 1};",
        "pthread_mutex_lock(&held.mutex); held.count = 3;",
        "held.count == 3 && pthread_mutex_trylock(&held.mutex) != 0",
        always("held.mutex is locked", at=VALUES)
        | {
            "reordered": (
                refused("struct held { int count; pthread_mutex_t mutex; } held;", "held.mutex is locked", at=VALUES),
            ),
            "grown": (
                refused(
                    "struct held { pthread_mutex_t mutex; int count, more; } held;", "held.mutex is locked", at=VALUES
                ),
            ),
            "shrunk": (refused("struct held { pthread_mutex_t mutex; } held;", "held.mutex is locked", at=VALUES),),
            "type changed": (
                refused(
                    "struct held { pthread_rwlock_t mutex; int count; } held;",
                    "held.mutex: pthread_mutex_t is pthread_rwlock_t now",
                    at=TYPES,
                ),
            ),
        },
    ),
]
