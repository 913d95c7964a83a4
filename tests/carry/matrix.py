"""The table of test_matrix: kinds of data, each in seven situations."""

from __future__ import annotations

from dataclasses import dataclass, field

COLUMNS = ("unchanged", "moved", "reordered", "grown", "shrunk", "removed", "type changed")

TYPES, POINTERS, VALUES = "by their types", "by where they point", "by their values"
"""Steps of a move; each refuses all that it finds, and then the next one isn't reached."""

GONE = "dropped (the new version has no such variable)"
COPYABLE = (
    "isn't trivially copyable, so that copying its bytes isn't copying it; carry it by the hooks midflight_save and"
    " midflight_restore, or let it start fresh"
)


@dataclass(frozen=True, eq=False)
class Cell:
    """One situation.

    ``text``: the second version's declarations, ``check``: an expression that is true if the data are right in it; both
    as in the first version where they aren't given.  ``says``: the report, by variable.  ``refused``: the refusals, at
    the step ``at``.
    """

    text: str | None = None
    check: str | None = None
    says: dict[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    at: str = ""


@dataclass(frozen=True, eq=False)
class Row:
    """A kind of data.

    ``text``: declarations; ``body``: functions that both versions have; ``set``: statements that change the data;
    ``check``: an expression that is true then.  ``names``: of the variables and blocks, as a report names them.
    ``cells``: by column; what isn't there is as it was.  ``lanes``: where it holds.
    """

    name: str
    names: tuple[str, ...]
    text: str
    set: str
    check: str
    cells: dict[str, tuple[Cell, ...]]
    body: str = ""
    lanes: tuple[str, ...] = ("here", "worker")

    def in_column(self, column: str) -> tuple[Cell, ...]:
        """Return the situations of one column."""
        usual = Cell(says={name: "carried (as they are)" if " of " in name else "carried" for name in self.names})
        if column == "removed":
            usual = Cell("", "1", dict.fromkeys(self.names, GONE))
        return self.cells.get(column, (usual,))


def became(name: str, how: str, text: str, check: str | None = None, **others: str) -> Cell:
    """Return the situation of a variable that is migrated."""
    return Cell(text, check, {name: f"migrated ({how})", **others})


def refused(text: str | None, *refusals: str, at: str, check: str = "1") -> Cell:
    """Return the situation of data that can't be carried."""
    return Cell(text, check, refused=refusals, at=at)


def _always(*refusals: str, at: str) -> dict[str, tuple[Cell, ...]]:
    """Return cells that refuse the data even where nothing changes."""
    cell = refused(None, *refusals, at=at)
    return dict.fromkeys((column for column in COLUMNS if column != "removed"), (cell,))


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
        _always("held.mutex is locked", at=VALUES)
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

_PLAYERS = "struct player *players;"
_LINKS = "5 blocks of struct link"
_LIST = """
int sum_of_links(void)
{
    int sum = 0;
    for (struct link *at = head; at; at = at->next) sum += at->value;
    return sum;
}
"""
_OLD_PROCESS = (
    " points to memory of the old process (0x…), which ends with it; only typed blocks (MF_NEW) outlive a worker"
)
_NO_BLOCK = " points to memory that isn't a typed block, and struct cell has changed; allocate it by MF_NEW"

POINTING = [
    Row(
        "pointer to self",
        ("node",),
        "struct node { struct node *self; int n; int *inside; } node = {0, 1, 0};",
        "node.self = &node; node.n = 5; node.inside = &node.n;",
        "node.self == &node && node.n == 5 && *node.inside == 5",
        {
            "reordered": (
                became(
                    "node",
                    "self, inside moved",
                    "struct node { int *inside; int n; struct node *self; } node;",
                ),
            ),
            "grown": (
                became(
                    "node",
                    "before is new; self, n, inside moved",
                    "struct node { long before[3]; struct node *self; int n; int *inside; } node;",
                ),
            ),
            "shrunk": (
                became(
                    "node",
                    "inside is gone",
                    "struct node { struct node *self; int n; } node;",
                    "node.self == &node && node.n == 5",
                ),
                refused(
                    "struct node { struct node *self; int *inside; } node;",
                    "node.inside points to the variable node + 8, which the new version doesn't have",
                    at=POINTERS,
                ),
            ),
            "type changed": (
                became(
                    "node",
                    "self: struct node * is void * now",
                    "struct node { void *self; int n; int *inside; } node;",
                ),
                refused(
                    "struct node { double *self; int n; int *inside; } node;",
                    "node.self: struct node * is double * now: what it points to is still of the old type",
                    at=TYPES,
                ),
            ),
        },
    ),
    Row(
        "typed block",
        ("players", "1 block of struct player"),
        f"struct player {{ int16_t hp; int id; }}; {_PLAYERS}",
        "players = MF_NEW(struct player, 20); players[17].hp = 300; players[19].id = 4;",
        "players[17].hp == 300 && players[19].id == 4",
        {
            "reordered": (
                Cell(
                    f"struct player {{ int id; int16_t hp; }}; {_PLAYERS}",
                    says={"players": "carried", "1 block of struct player": "migrated (hp, id moved)"},
                ),
            ),
            "grown": (
                Cell(
                    f"struct player {{ int16_t hp; int id; double x; }}; {_PLAYERS}",
                    says={"players": "carried", "1 block of struct player": "migrated (x is new)"},
                ),
            ),
            "shrunk": (
                Cell(
                    f"struct player {{ int16_t hp; }}; {_PLAYERS}",
                    "players[17].hp == 300",
                    {"players": "carried", "1 block of struct player": "migrated (id is gone)"},
                ),
            ),
            "removed": (
                Cell(
                    "",
                    "1",
                    {
                        "players": GONE,
                        "1 block of struct player": "left (as they are: the new version has no such type)",
                    },
                ),
            ),
            "type changed": (
                Cell(
                    f"struct player {{ double hp; int id; }}; {_PLAYERS}",
                    says={
                        "players": "carried",
                        "1 block of struct player": "migrated (hp: int16_t is double now; id moved)",
                    },
                ),
                refused(
                    f"struct player {{ int8_t hp; int id; }}; {_PLAYERS}",
                    "players[17].hp: 300 does not fit int8_t",
                    at=VALUES,
                ),
                refused(
                    f"struct player {{ int16_t *hp; int id; }}; {_PLAYERS}",
                    "1 block of struct player.hp: int16_t is int16_t * now",
                    at=TYPES,
                ),
            ),
        },
    ),
    Row(
        "linked list",
        ("head", _LINKS),
        "struct link { struct link *next; int value; }; struct link *head;",
        "for (int i = 5; i; i--) { struct link *l = MF_NEW(struct link, 1); *l = (struct link){head, i}; head = l; }",
        "sum_of_links() == 15",
        {
            "reordered": (
                Cell(
                    "struct link { int value; struct link *next; }; struct link *head;",
                    says={"head": "carried", _LINKS: "migrated (next, value moved)"},
                ),
            ),
            "grown": (
                Cell(
                    "struct link { struct link *next, *back; int value; }; struct link *head;",
                    says={"head": "carried", _LINKS: "migrated (back is new; value moved)"},
                ),
            ),
            "shrunk": (
                Cell(
                    "struct link { struct link *next; signed char value; }; struct link *head;",
                    says={"head": "carried", _LINKS: "migrated (value: int is signed char now)"},
                ),
            ),
            "removed": (
                Cell(
                    "",
                    "1",
                    {"head": GONE, _LINKS: "left (as they are: the new version has no such type)"},
                ),
            ),
            "type changed": (
                Cell(
                    "struct link { void *next; long value; }; struct link *head;",
                    says={
                        "head": "carried",
                        _LINKS: "migrated (next: struct link * is void * now; value: int is long now)",
                    },
                ),
            ),
        },
        body=_LIST,
    ),
    Row(
        "malloc, here",
        ("cells",),
        "struct cell { int a; long b; }; struct cell *cells;",
        "cells = calloc(3, sizeof *cells); cells[2].a = 7;",
        "cells[2].a == 7",
        {
            "reordered": (
                refused("struct cell { long b; int a; }; struct cell *cells;", f"cells{_NO_BLOCK}", at=POINTERS),
            ),
            "grown": (
                refused("struct cell { int a; long b, c; }; struct cell *cells;", f"cells{_NO_BLOCK}", at=POINTERS),
            ),
            "shrunk": (refused("struct cell { int a; }; struct cell *cells;", f"cells{_NO_BLOCK}", at=POINTERS),),
            "type changed": (
                refused("struct cell { long a; long b; }; struct cell *cells;", f"cells{_NO_BLOCK}", at=POINTERS),
            ),
        },
        lanes=("here",),
    ),
    Row(
        "malloc, in a worker",
        ("numbers",),
        "int *numbers;",
        "numbers = calloc(3, sizeof *numbers); numbers[2] = 7;",
        "numbers[2] == 7",
        _always(f"numbers{_OLD_PROCESS}", at=POINTERS)
        | {
            "type changed": (
                refused(
                    "long *numbers;",
                    "numbers: int * is long * now: what it points to is still of the old type",
                    at=TYPES,
                ),
            )
        },
        lanes=("worker",),
    ),
    Row(
        "function pointer",
        ("dispatch",),
        "int twice(int n) { return 2 * n; } struct dispatch { int uses; int (*apply)(int); } dispatch;",
        "dispatch.apply = twice; dispatch.uses = 3;",
        "dispatch.uses == 3 && dispatch.apply(4) == 8",
        {
            "unchanged": (
                Cell(
                    "static int twice(int n) { return 2 * n + 1; }"
                    "struct dispatch { int uses; int (*apply)(int); } dispatch = {0, twice};",
                    "dispatch.uses == 3 && dispatch.apply(4) == 9",
                    {"dispatch": "carried"},
                ),
            ),
            "moved": (
                Cell(
                    "int other(int n) { return n; } int twice(int n) { return 2 * n + 1; }"
                    "struct dispatch { int uses; int (*apply)(int); } dispatch;",
                    "dispatch.uses == 3 && dispatch.apply(4) == 9",
                    {"dispatch": "carried"},
                ),
            ),
            "reordered": (
                became(
                    "dispatch",
                    "uses, apply moved",
                    "int twice(int n) { return n + n; } struct dispatch { int (*apply)(int); int uses; } dispatch;",
                ),
            ),
            "grown": (
                became(
                    "dispatch",
                    "undo is new",
                    "int twice(int n) { return n + n; }"
                    "struct dispatch { int uses; int (*apply)(int); int (*undo)(int); } dispatch;",
                ),
            ),
            "shrunk": (
                became(
                    "dispatch",
                    "uses is gone; apply moved",
                    "int twice(int n) { return n + n; } struct dispatch { int (*apply)(int); } dispatch;",
                    "dispatch.apply(4) == 8",
                ),
            ),
            "removed": (
                Cell("", "1", {"dispatch": GONE}),
                refused(
                    "struct dispatch { int uses; int (*apply)(int); } dispatch;",
                    "dispatch.apply points to the function twice, which the new version doesn't have",
                    at=POINTERS,
                ),
            ),
            "type changed": (
                became(
                    "dispatch",
                    "apply: int (*)(int) is int (*)(long) now",
                    "int twice(long n) { return (int)n * 2; }"
                    "struct dispatch { int uses; int (*apply)(long); } dispatch;",
                ),
            ),
        },
    ),
    Row(
        "string literal",
        ("label",),
        'struct label { int uses; const char *text; } label = {0, "none"};',
        'label.uses = 2; label.text = "first of all";',
        'label.uses == 2 && strcmp(label.text, "first of all") == 0',
        {
            "reordered": (became("label", "uses, text moved", "struct label { const char *text; int uses; } label;"),),
            "grown": (became("label", "more is new", "struct label { int uses; const char *text, *more; } label;"),),
            "shrunk": (
                became(
                    "label",
                    "uses is gone; text moved",
                    "struct label { const char *text; } label;",
                    'strcmp(label.text, "first of all") == 0',
                ),
            ),
            "removed": (
                Cell("", "1", {"label": GONE}),
                refused(
                    "struct label { int uses; const char *text; } label;",
                    'label.text points to the text "first of all", which the new version doesn\'t have',
                    at=POINTERS,
                    check="label.text[0] == 'f'",
                ),
            ),
            "type changed": (
                became(
                    "label",
                    "text: const char * is const void * now",
                    "struct label { int uses; const void *text; } label;",
                    'label.uses == 2 && memcmp(label.text, "first of all", 13) == 0',
                ),
            ),
        },
    ),
]

_STRING = "std::basic_string<char, std::char_traits<char>, std::allocator<char> >"
_VECTOR = "std::vector<int, std::allocator<int> >"
_MAP = "std::map<int, int, std::less<int>, std::allocator<std::pair<int const, int> > >"


def _class(name: str, declared: str, text: str, set_: str, check: str, spelled: str) -> Row:
    """Return the row of a C++ class: refused, whatever becomes of it.  ``spelled``: its type, without typedefs."""
    cells = _always(f"{name}: {spelled} {COPYABLE}", at=TYPES)
    for column, now in {"grown": f"{declared}[2]", "type changed": "long"}.items():
        other = f"{declared} {name}[2];" if column == "grown" else f"long {name};"
        cells[column] = (refused(other, f"{name}: {declared} is {now} now", at=TYPES),)
    return Row(name, (name,), text, set_, check, cells)


CLASSES = [
    _class("text", "std::string", "std::string text;", 'text = "short";', 'text == "short"', _STRING),
    _class("line", "std::string", "std::string line;", "line.assign(100, 'x');", "line.size() == 100", _STRING),
    _class("list", _VECTOR, "std::vector<int> list;", "list.push_back(4);", "list.at(0) == 4", _VECTOR),
    # Its own bytes stay as they are, and so nobody can tell whether its elements do.
    _class("filled", _VECTOR, "std::vector<int> filled{1, 2};", "filled[1] = 9;", "filled[1] == 9", _VECTOR),
    _class("tree", _MAP, "std::map<int, int> tree;", "tree[3] = 4;", "tree[3] == 4", _MAP),
    Row(
        "untouched classes",
        ("greeting", "none"),
        'std::string greeting = "hello"; std::vector<int> none;',
        "",
        'greeting == "hello" && none.empty()',
        {
            column: (
                Cell(
                    'std::string greeting = "good day"; std::vector<int> none = {1};',
                    'greeting == "good day" && none.at(0) == 1',
                    dict.fromkeys(("greeting", "none"), "initialised (nobody had changed it)"),
                ),
            )
            for column in COLUMNS
            if column != "removed"
        }
        | {"removed": (Cell("", "1", {}),)},
    ),
    Row(
        "virtual functions",
        ("shape",),
        "struct shape { virtual int sides() { return 3; } int size = 1; } shape;",
        "shape.size = 5;",
        "shape.size == 5",
        _always(f"shape: shape {COPYABLE}", at=TYPES)
        | {"type changed": (refused("long shape;", "shape: shape is long now", at=TYPES),)},
    ),
]

TABLES = {".c": [*NUMBERS, *COMPOUNDS, *POINTING], ".cc": CLASSES}
