/* What the parts of the worker program share.  One process serves one version of one library. */
#ifndef MF_WORKER_H
#define MF_WORKER_H

#include "../channel.h"
#include "../image.h"

extern mf_channel *channel; /* set before any thread starts */
extern mf_image *image;     /* set before the first request is served */

/* ---- serve.c: one thread for each slot --------------------------------------------------------------------------- */

/* Where the data of the request that a thread works on end, in the slot's arena. */
typedef struct mf_serving {
    mf_slot *slot;
    uint32_t index; /* of the slot */
    uint64_t end, limit; /* offsets in the channel */
    mf_patience patience;
} mf_serving;

extern _Thread_local mf_serving *serving; /* NULL in threads of the library's own */

bool serve_all(void); /* starts the threads; false: there is no room for them */

/* Carries out one request of the host's; the slot is passed back by the caller. */
void serve_request(mf_serving *self);

/* What the library has printed is to be seen before the host goes on: their outputs are in order. */
void show_prints(void);

/* Memory in the slot's arena; NULL: there is no room. */
void *serving_room(mf_serving *self, size_t size);

/* ---- thunks.c: the function pointers that stand for callbacks ----------------------------------------------------- */

/* What a thunk was called with.  The layout is known to the assembly. */
typedef struct mf_incoming {
    uint64_t integers[MF_INTEGER_REGISTERS];
    double doubles[MF_DOUBLE_REGISTERS];
    const uint64_t *stack;
    uint64_t integer_result;
    double double_result;
} mf_incoming;

extern const char mf_thunks[];
uint64_t thunk_size(void);

/* ---- callback.c --------------------------------------------------------------------------------------------------- */

/* Notes what the arguments of a callback are. */
bool callback_describe(uint64_t number, const mf_callback_param *params, size_t count);

/* ---- blocks.c: typed blocks ---------------------------------------------------------------------------------------- */

/* Where the module's heap is mapped, and as whom the worker uses it. */
typedef struct blocks_place {
    uint64_t address, size;
    uint32_t seat, version;
} blocks_place;

/* Reads "address,size,seat,version". */
bool blocks_place_from(const char *word, blocks_place *place);

/* Takes part in the heap that is mapped there; `most`: bytes that the library may use, or nothing above 0. */
bool blocks_join(const blocks_place *place, const char *name, long long most);

/* What the library's `midflight_module` is bound to, after that. */
mf_wrapper blocks_binding(void);

/* ---- sandbox.c ------------------------------------------------------------------------------------------------------ */

/* No network, no writing of files, no other programs, no tracing: for all threads of the process, and all that they start.
 * False: the kernel refuses. */
bool sandbox_enter(void);

/* The same, but execveat is left, for the program that is started in it: that one has to give it up at once. */
bool sandbox_enter_for_program(void);

#endif
