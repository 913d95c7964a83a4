/* What worker.c, link.c and spawn.c know of each other. */
#ifndef MF_PYTHON_LINK_H
#define MF_PYTHON_LINK_H

#include "core.h"

#include "../link.h"

/* The link behind a Link object; NULL for anything else.  Lives as long as the object. */
mf_link *link_of(PyObject *object);

/* A tuple of bytes as the array that execve takes; it borrows from the tuple.  To be freed with PyMem_Free; NULL with an
 * exception set. */
char **texts(PyObject *tuple);

/* Runs the callback that a slot holds; `data`: the Worker.  Called without the GIL. */
void worker_callback(void *data, mf_ride *ride);

#endif
