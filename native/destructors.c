/* See destructors.h. */
#include "destructors.h"

#include <sys/mman.h>
#include <unistd.h>

#include "guard.h"

static _Thread_local mf_destructors *closing;

static void
run_one(void *data)
{
    (*(void (**)(void))data)();
}

/* What the loader calls instead: last first, as it would. */
static void
run_all(void)
{
    mf_destructors *self = closing;
    void (**list)(void) = (void (**)(void))(self->base + self->table_was);
    for (size_t i = self->size_was / sizeof *list; i-- > 0;) {
        const mf_crash *crash;
        if (mf_guard_run(run_one, &list[i], &crash) == MF_CRASHED && self->crash->signal == 0) {
            *self->crash = *crash;
        }
    }
}

static void (*const ours[])(void) = {run_all};

static void
set(mf_destructors *self, ElfW(Addr) table, ElfW(Addr) size)
{
    self->table->d_un.d_ptr = table;
    self->size->d_un.d_val = size;
}

static bool
can_write(void *place, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t low = (uintptr_t)place & ~(page - 1), high = ((uintptr_t)place + size + page - 1) & ~(page - 1);
    return mprotect((void *)low, high - low, PROT_READ | PROT_WRITE) == 0;
}

void
mf_destructors_guard(mf_destructors *self, const struct link_map *library, mf_crash *crash)
{
    *self = (mf_destructors){.base = library->l_addr, .crash = crash, .outer = closing};
    ElfW(Dyn) *end = library->l_ld;
    for (; end->d_tag != DT_NULL; end++) {
        self->table = end->d_tag == DT_FINI_ARRAY ? end : self->table;
        self->size = end->d_tag == DT_FINI_ARRAYSZ ? end : self->size;
    }
    if (self->table == NULL || self->size == NULL || !mf_guard_ready() ||
        !can_write(library->l_ld, (size_t)((char *)end - (char *)library->l_ld))) {
        self->table = NULL;
        return;
    }
    self->table_was = self->table->d_un.d_ptr;
    self->size_was = self->size->d_un.d_val;
    closing = self;
    set(self, (uintptr_t)ours - self->base, sizeof ours);
}

void
mf_destructors_done(mf_destructors *self, bool mapped)
{
    if (self->table == NULL) {
        return;
    }
    closing = self->outer;
    if (mapped) {
        set(self, self->table_was, self->size_was);
    }
}
