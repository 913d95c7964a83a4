/* Would catch: a ball that both sides have or neither has, a lost wake-up, a wait that outlasts its time. */
#include "channel.h"

#include <pthread.h>
#include <sys/mman.h>

#include "check.h"

enum { BALLS = 1000000 };

static mf_slot *slot;

static void *
serve(void *unused)
{
    mf_patience patience = {0};
    (void)unused;
    for (uint64_t i = 0; i < BALLS; i++) {
        CHECK(mf_slot_wait(slot, MF_WORKER, 0, &patience, NULL) == MF_ARRIVED);
        CHECK(slot->number == 2 * i);
        slot->number++;
        mf_slot_pass(slot, MF_HOST);
    }
    return NULL;
}

static void
test_a_million_balls(void)
{
    pthread_t thread;
    mf_patience patience = {0};
    CHECK(pthread_create(&thread, NULL, serve, NULL) == 0);
    for (uint64_t i = 0; i < BALLS; i++) {
        slot->number = 2 * i;
        mf_slot_pass(slot, MF_WORKER);
        CHECK(mf_slot_wait(slot, MF_HOST, 0, &patience, NULL) == MF_ARRIVED);
        CHECK(slot->number == 2 * i + 1);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(atomic_load(&slot->host_sleeps) == 0 && atomic_load(&slot->worker_sleeps) == 0);
}

static int slept;

static void
note_sleep(void)
{
    slept++;
}

static void
test_time_is_over(void)
{
    mf_patience patience = {0};
    uint64_t start = mf_now();
    mf_slot_pass(slot, MF_WORKER);
    CHECK(mf_slot_wait(slot, MF_HOST, start + 10000000, &patience, note_sleep) == MF_TIMED_OUT);
    CHECK(mf_now() >= start + 10000000);
    CHECK(slept == 1);
    CHECK(mf_slot_wait(slot, MF_WORKER, 0, &patience, note_sleep) == MF_ARRIVED);
    CHECK(slept == 1);
}

int
main(void)
{
    slot = mmap(NULL, MF_CHANNEL_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(slot != MAP_FAILED);
    test_a_million_balls();
    test_time_is_over();
    return 0;
}
