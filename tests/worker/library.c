#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
struct point { double x; int n; };
struct named { const char *name; int n; };
typedef int (*unary)(int);

int add(int a, int b) { return a + b; }
int process(void) { return getpid(); }
static int counter;
int count(void) { return ++counter; }
int variable = 5;
struct point place = {1.5, 2};

/* what goes wrong */
static volatile int depth;
static int deeper(volatile char *before) { volatile char room[4096]; room[0] = *before; depth++; return deeper(room) + room[0]; }
int overflow(void) { volatile char first = 0; return deeper(&first); }
int crash(volatile int *where) { return *where; }
int crash_after(volatile long *begun) { ++*begun; *(volatile int *)8 = 1; return 0; }
void end_by_abort(void) { abort(); }
void leave(int status) { exit(status); }
static void *fall(void *unused) { (void)unused; *(volatile int *)8 = 1; return 0; }
void crash_elsewhere(void) { pthread_t t; pthread_create(&t, 0, fall, 0); pthread_join(t, 0); }
void spin(volatile int *flag) { *flag = 1; for (;;) if (*flag == 2) return; }
void hang(void) { for (;;) pause(); }
/* Counts itself in and waits for the word that lets everybody go. */
int meet(volatile int *inside, volatile int *go) { __atomic_add_fetch(inside, 1, __ATOMIC_SEQ_CST); while (!*go) { } return 1; }

/* limits */
long grab(long bytes) { char *p = malloc((size_t)bytes); if (!p) return -errno; memset(p, 1, (size_t)bytes); long s = p[bytes - 1]; free(p); return s; }
int open_many(int most) { int n = 0; while (n < most) { int f = open("/dev/null", O_RDONLY); if (f < 0) break; n++; } return n; }

/* memory */
double sum(const double *items, long count) { double s = 0; for (long i = 0; i < count; i++) s += items[i]; return s; }
void scale(double *items, long count, double by) { for (long i = 0; i < count; i++) items[i] *= by; }
int copy(const int *from, int *to, int count) { for (int i = 0; i < count; i++) to[i] = from[i] + 1; return to == from; }
long distance(const double *a, const double *b) { return b - a; }
int swap_ends(int *a, int *b) { int t = *a; *a = *b; *b = t; return *a; }
const double *largest(const double *items, long count) { const double *best = items; for (long i = 1; i < count; i++) if (items[i] > *best) best = items + i; return best; }
long length(const char *text) { return (long)strlen(text); }
const char *text_of(int which) { return which == 0 ? 0 : which == 1 ? "gr\xfc\xdf" : which == 2 ? "" : "text"; }
const char *long_text(int size) { static char *text; text = realloc(text, (size_t)size + 1); memset(text, 'x', (size_t)size); text[size] = 0; return text; }
struct point *make_point(double x, int n) { struct point *p = malloc(sizeof *p); p->x = x; p->n = n; return p; }
double get_x(const struct point *p) { return p ? p->x : -1; }
struct named get_named(void) { return (struct named){"somewhere", 7}; }
double move(struct point *p, double by) { p->x += by; return p->x; }
void say_written(volatile int *items, volatile int *seen) { items[0] = 77; while (!*seen) { } }

/* callbacks */
int apply(unary f, int x) { return f(x) + 1; }
static unary kept;
void keep(unary f) { kept = f; }
int call_kept(int x) { return kept ? kept(x) : -1; }
int nest(unary f, int n) { return n == 0 ? 0 : f(n - 1) + 1; }
struct job { unary f; int x, result; };
static void *run_job(void *data) { struct job *j = data; for (int i = 0; i < 20; i++) j->result += j->f(j->x + i); return 0; }
int apply_in_threads(unary f, int threads)
{
    pthread_t t[16]; struct job j[16]; int s = 0;
    for (int i = 0; i < threads; i++) { j[i] = (struct job){f, i * 100, 0}; pthread_create(&t[i], 0, run_job, &j[i]); }
    for (int i = 0; i < threads; i++) { pthread_join(t[i], 0); s += j[i].result; }
    return s;
}
int tell(int (*f)(const char *, double), int size) { char *text = malloc((size_t)size + 1); memset(text, 'y', (size_t)size); text[size] = 0; int r = f(text, 0.5); free(text); return r; }
double through(void (*f)(struct point *)) { struct point p = {1, 2}; f(&p); return p.x * 100 + p.n; }
double look(double (*f)(const struct point *, int), int n) { struct point p = {n, n}; return f(&p, n); }
int through_null(void (*f)(struct point *)) { f(0); return 1; }
int each(const int *items, int count, int (*f)(const int *, int)) { return f(items, count); }
double wide(double (*f)(double, double, double, double, double, double, double, double, double, long, long, long, long, long, long, long, float))
{ return f(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17.5f); }
void *with_pointer(void *(*f)(void *), void *p) { return f(p); }
int deref(int (*f)(int **)) { static int n = 5; static int *p = &n; return f(&p); }

/* output */
void print(const char *text) { printf("%s\n", text); }
void print_many(int lines) { for (int i = 0; i < lines; i++) printf("line %d of the library\n", i); }
void print_then_call(unary f) { printf("before the callback\n"); f(0); printf("after the callback\n"); }

/* what a sandbox forbids; errno, 0 where it works */
int try_socket(void) { int s = socket(AF_INET, SOCK_STREAM, 0); if (s < 0) return errno; close(s); return 0; }
int try_unix_socket(void) { int s = socket(AF_UNIX, SOCK_STREAM, 0); if (s < 0) return errno; close(s); return 0; }
int try_write(const char *path) { int f = open(path, O_WRONLY | O_CREAT, 0600); if (f < 0) return errno; close(f); return 0; }
int try_fopen(const char *path) { FILE *f = fopen(path, "w"); if (!f) return errno; fclose(f); return 0; }
int try_read(const char *path) { char byte; int f = open(path, O_RDONLY); if (f < 0) return errno; int r = read(f, &byte, 1) == 1 ? 0 : EIO; close(f); return r; }
int try_unlink(const char *path) { return unlink(path) ? errno : 0; }
int try_mkdir(const char *path) { return mkdir(path, 0700) ? errno : 0; }
int try_exec(void) { char *words[] = {"/bin/true", 0}; execv(words[0], words); return errno; }
int try_fork(void) { pid_t p = fork(); if (p < 0) return errno; if (p == 0) _exit(0); waitpid(p, 0, 0); return 0; }
int try_kill(int pid) { return kill(pid, 0) ? errno : 0; }
static void *nothing(void *p) { return p; }
int try_thread(void) { pthread_t t; int r = pthread_create(&t, 0, nothing, 0); if (r) return r; pthread_join(t, 0); return 0; }
static void *try_there(void *data) { *(int *)data = try_socket(); return 0; }
int try_socket_in_a_thread(void) { pthread_t t; int r = -1; pthread_create(&t, 0, try_there, &r); pthread_join(t, 0); return r; }
