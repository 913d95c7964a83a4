/* What the system itself needs for a reload. */
#ifndef RELOAD_H
#define RELOAD_H

/* Opens the library, looks the symbol up and closes it again, `count` times; writes the nanoseconds of each.  Returns 0,
 * or -1 if the library couldn't be opened or lacks the symbol. */
int reload(const char *library, const char *symbol, long *nanoseconds, long count);

#endif
