#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int data = 1;
static volatile int none, bottomless = 1;
static int (*volatile nowhere)(void);
static volatile char *volatile wild = (volatile char *)8;

int whoami(void) { return VERSION; }
int add(int a, int b) { return a + b; }
double half(double value) { return value / 2; }

/* ---- each signal ---- */

__attribute__((noinline)) static int write_wild(void) { *wild = 1; return 0; }
int segv(void) { return write_wild() + 1; }
int fpe(int value) { return value / none; }
int ill(void) { __builtin_trap(); return 0; }
int stop(void) { abort(); }
int bus(void) { raise(SIGBUS); return 1; }
__attribute__((noinline)) int fall(int above)
{
    volatile char room[4096];
    room[0] = (char)above;
    return bottomless ? fall(room[0]) + room[0] : 0;
}
int jump(void) { return nowhere() + 1; }
int compare(void) { return strcmp((const char *)wild, "x") + 1; }
int fill(void) { memset((void *)wild, 1, 100000); return *wild; }
static int bad_order(const void *a, const void *b) { return *(const int *)a - *(const int *)b + write_wild(); }
int order(void) { int some[3] = {3, 2, 1}; qsort(some, 3, sizeof *some, bad_order); return some[0]; }
int smash(int words)
{
    volatile long room[1];
    volatile long *volatile place = room;
    for (int i = 0; i < words; i++)
        place[i] = 0x1234567;
    return (int)room[0];
}

/* ---- each way of calling ---- */

typedef struct point { double x, y; } point;
typedef struct large { char bytes[600]; } large;

int crash_at(int count) { static int calls; return ++calls == count ? write_wild() : calls; }
double floating(double value) { *wild = 1; return value; }
int many(int a, int b, int c, int d, int e, int f, int g, int h) { return a + b + c + d + e + f + g + h + write_wild(); }
point struct_result(double x) { *wild = 1; return (point){x, x}; }
int large_argument(large value) { return value.bytes[0] + write_wild(); }
int large_sum(large value) { return value.bytes[0] + value.bytes[599]; }
int text(const char *words) { return (int)strlen(words) + write_wild(); }
int fill_array(int *items, int count) { items[0] = count; return write_wild(); }

/* ---- callbacks ---- */

int call_back(int (*function)(int), int value) { return function(value) + 1; }
int call_back_and_crash(int (*function)(int), int value) { function(value); return write_wild(); }

/* Waits in the callback, or crashes if there is none. */
int meet(int (*function)(int), int value) { return function == NULL ? write_wild() : function(value) * 200 + VERSION; }
int peek(const void *place) { return *(volatile const char *)place + 1; }

/* ---- what must end the program ---- */

int double_free(void)
{
    static void *volatile twice[9];
    for (int again = 0; again < 2; again++)
        for (int i = 0; i < 9; i++) {
            if (again == 0)
                twice[i] = malloc(2000);
            free(twice[i]);
        }
    return 0;
}
int print_wild(void) { return fprintf(stderr, "%s\n", (const char *)wild); }

/* ---- a thread of its own ---- */

static void *crash_in_thread(void *unused) { (void)unused; *wild = 1; return NULL; }
int start_thread(void)
{
    pthread_t thread;
    return pthread_create(&thread, NULL, crash_in_thread, NULL) != 0 || pthread_join(thread, NULL) != 0;
}
