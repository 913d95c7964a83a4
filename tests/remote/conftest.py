"""A module that is offered by another process, and the processes that offer it: nothing here waits for time to pass."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import midflight
from midflight._control import control_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from midflight.offering.offer import Offer

PATIENCE = 60.0

SOURCE = r"""
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
typedef struct point { int x; double y; } point;
struct node { int value; struct node *next; };
struct hidden;
enum color { RED = 1, BLUE = 4 };
typedef int (*operation)(int, int);
int counter = 5;
double ratio = 0.5;
enum color paint = RED;
const char *title = "gr\xc3\xbc\xc3\x9f";
point origin = {1, 2.5};
int numbers[4] = {1, 2, 3, 4};
const int fixed = 9;
struct node list = {1, 0};
int add(int a, int b) { return a + b; }
int8_t tiny(int8_t a) { return a; }
uint8_t small(uint8_t a) { return a; }
int16_t shorter(int16_t a) { return a; }
uint32_t word(uint32_t a) { return a; }
int64_t wide(int64_t a) { return a; }
uint64_t widest(uint64_t a) { return a; }
float single(float a) { return a; }
double twice(double a) { return 2 * a; }
bool flip(bool a) { return !a; }
char letter(char a) { return a; }
enum color next(enum color c) { return c == RED ? BLUE : RED; }
int as_number(enum color c) { return c; }
enum color as_color(int c) { return (enum color)c; }
size_t length(const char *text) { return text ? strlen(text) : 999; }
const char *echo(const char *text) { return text; }
const char *raw(void) { return "\xff\xfe"; }
long total(const int *items, size_t count) { long t = 0; for (size_t i = 0; i < count; i++) t += items[i]; return t; }
void ramp(int *items, size_t count) { for (size_t i = 0; i < count; i++) items[i] = (int)i; }
double sum(const double *items, size_t count)
{ double t = 0; for (size_t i = 0; i < count; i++) t += items[i]; return t; }
void mark(void *memory, size_t size) { memset(memory, 0x5a, size); }
bool same(const int *one, const int *other) { return one == other; }
void copy(char *to, const char *from) { strcpy(to, from); }
point moved(point p, int by) { p.x += by; p.y += by; return p; }
void shift(point *p) { p->x++; p->y *= 2; }
double all_y(const point *p, int count) { double t = 0; for (int i = 0; i < count; i++) t += p[i].y; return t; }
struct node *push(struct node *list, int value)
{ struct node *n = malloc(sizeof *n); n->value = value; n->next = list; return n; }
int depth(const struct node *list) { int d = 0; for (; list; list = list->next) d++; return d; }
int value_of(struct node *one) { return one->value; }
void link_it(struct node *one) { one->next = one; }
struct node by_value(void) { struct node n = {1, &list}; return n; }
point *corner(void) { static point one = {7, 8.5}; return &one; }
int x_of(point *p) { return p->x; }
char *name(void) { return strdup("a name"); }
struct hidden *secret(void) { return (struct hidden *)&counter; }
bool is_secret(struct hidden *s) { return s == (struct hidden *)&counter; }
int apply(operation function, int a, int b) { return function ? function(a, b) : -999; }
static operation kept;
void keep(operation function) { kept = function; }
int call_kept(int a, int b) { return kept(a, b); }
bool is_kept(operation function) { return kept == function; }
void each(void (*function)(int), int count) { for (int i = 0; i < count; i++) function(i); }
double use_point(void (*function)(point *), int x, double y) { point p = {x, y}; function(&p); return p.x + p.y; }
double see_value(double (*function)(point, enum color), int x) { return function((point){x, 0.5}, BLUE); }
const char *label(const char *(*function)(const char *)) { function("label \xc3\xbc"); return "done"; }
void *through(void *(*function)(void *), void *data) { return function(data); }
int recolor(enum color (*function)(enum color)) { return function(RED); }
double number(double (*function)(void)) { return function(); }
static void *run(void *data) { operation function = (operation)data; return (void *)(intptr_t)function(20, 22); }
long from_thread(operation function)
{
    pthread_t thread;
    void *result;
    if (pthread_create(&thread, 0, run, (void *)function)) return -1;
    pthread_join(thread, &result);
    return (long)result;
}
long double strange(long double x) { return x; }
int dotted(const char *format, ...) { return (int)strlen(format); }
int process(void) { return getpid(); }
int hold(const char *path) { FILE *f = fopen(path, "r"); if (!f) return -1; int c = fgetc(f); fclose(f); return c; }
"""


class Server:
    """A process that offers a module."""

    def __init__(self, source: Path, at: str, *options: str, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "midflight", "offer", str(source), "--at", at, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"is offered at (\S+)", line)
        assert found is not None, line
        self.address = found[1]

    def kill(self) -> None:
        """Kill it as the kernel would."""
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """Tell it to end; return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=PATIENCE)

    def release(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start processes that offer modules; those that still run at the end are killed."""
    started: list[Server] = []

    def start(source: Path, at: str, *options: str, **more: Any) -> Server:
        started.append(Server(source, at, *options, **more))
        return started[-1]

    yield start
    for server in started:
        server.release()


@pytest.fixture
def at(tmp_path: Path) -> str:
    """An address of the test's own."""
    return f"unix:{tmp_path}/s"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source that is offered."""
    path = tmp_path_factory.mktemp("source") / "lib.c"
    path.write_text(SOURCE)
    return path


@pytest.fixture(scope="module")
def server(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A process that offers it, for all tests of a file."""
    one = Server(source, f"unix:{tmp_path_factory.mktemp('socket')}/s")
    yield one
    one.release()


@pytest.fixture(scope="module")
def lib(server: Server) -> ModuleType:
    """The module, as another program sees it."""
    return midflight.load("lib.c", lane=server.address)


@pytest.fixture
def here(tmp_path: Path, at: str) -> Iterator[Callable[..., tuple[ModuleType, Any]]]:
    """Return a function that writes a source, loads it, and offers it from this process."""
    offers: list[Offer] = []

    def start(text: str, address: str = at, **options: Any) -> tuple[ModuleType, Offer]:
        path = tmp_path / "lib.c"
        path.write_text(text)
        module = midflight.load(path)
        offers.append(midflight.offer(module, address, **options))
        return module, offers[-1]

    yield start
    for one in offers:
        one.stop()


@contextlib.contextmanager
def swapped(module: ModuleType) -> Iterator[threading.Event]:
    """Give an event that is set when a module has followed a swap; wait for it at the end."""
    done = threading.Event()
    control = control_of(module)

    def notice(event: object) -> None:
        if isinstance(event, midflight.Swapped) and control_of(event.module) is control:
            done.set()

    unsubscribe = midflight.subscribe(notice)
    try:
        yield done
        assert done.wait(PATIENCE)
    finally:
        unsubscribe()
