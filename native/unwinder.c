/* See unwinder.h. */
#include "unwinder.h"

#include <dlfcn.h>
#include <stddef.h>

mf_unwinder
mf_find_unwinder(void)
{
    mf_unwinder found = {0};
    void *library = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_NOLOAD);
    if (library != NULL) {
        *(void **)&found.set_register = dlsym(library, "_Unwind_SetGR");
        *(void **)&found.set_ip = dlsym(library, "_Unwind_SetIP");
        *(void **)&found.delete_exception = dlsym(library, "_Unwind_DeleteException");
        *(void **)&found.resume = dlsym(library, "_Unwind_Resume");
        dlclose(library);
    }
    return found;
}
