/* What worker.c and link.c know of each other. */
#ifndef MF_PYTHON_LINK_H
#define MF_PYTHON_LINK_H

#include "core.h"

#include "../link.h"

/* The link behind a Link object; NULL for anything else.  Lives as long as the object. */
mf_link *link_of(PyObject *object);

/* Runs the callback that a slot holds; `data`: the Worker.  Called without the GIL. */
void worker_callback(void *data, mf_ride *ride);

#endif
