"""Rows of test_matrix: pointers, and what they lead to."""

from __future__ import annotations

from tests.carry.cells import GONE, POINTERS, TYPES, VALUES, Cell, Row, always, became, refused

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
        always(f"numbers{_OLD_PROCESS}", at=POINTERS)
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
