/* What a C library commonly has: structs, unions, bit fields, callbacks, thread-local and static variables, a
 * constructor, a destructor, versions of glibc's symbols. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum color { RED, GREEN = 7, BLUE };

struct item {
    struct item *next;
    int first : 3, second : 9;
    union {
        long number;
        double real;
    } value;
    char name[8];
    enum color color;
};

typedef int (*visitor)(const struct item *, enum color);

static __thread int calls = 3;
__thread int shared;
static double hidden = 1.5;
static struct item items[4] = {{0, 1, 2, {5}, "five", GREEN}};
struct item *head = items;
int counter = 3;
const char *const names[] = {"red", "green", "blue"};

__attribute__((constructor)) static void
begin(void)
{
    items[1].next = calloc(1, sizeof *items);
    counter = items[1].next != NULL;
}

__attribute__((destructor)) static void
end(void)
{
    free(items[1].next);
}

static void *
run(void *argument)
{
    return argument;
}

int
add(int a, int b)
{
    static int sum;
    sum += a + b;
    return sum + ++calls + ++shared + counter;
}

int
walk(const struct item *item, visitor visit)
{
    hidden += 1;
    return item != NULL ? visit(item, item->color) + (int)strlen(item->name) : (int)hidden;
}

int
start(void)
{
    pthread_t thread;
    return pthread_create(&thread, NULL, run, NULL) != 0 ? -1 : pthread_join(thread, NULL);
}

int
say(const char *text)
{
    return printf("%s\n", text);
}
