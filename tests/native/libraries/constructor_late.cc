// A constructor that starts a thread and then throws: the thread runs until a byte can be read from late_end.
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void *work(void *)
{
    char byte;
    while (read(atoi(getenv("LATE_END")), &byte, 1) != 1) {
    }
    return nullptr;
}

static struct Late {
    Late()
    {
        pthread_t thread;
        pthread_create(&thread, nullptr, work, nullptr);
        pthread_detach(thread);
        throw 1;
    }
} late;

extern "C" int answer() { return 42; }
