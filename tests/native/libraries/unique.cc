// One STB_GNU_UNIQUE symbol, threads of both kinds, a key with a destructor, a signal handler.
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

template <typename T> struct Counter {
    static int count;
};
template <typename T> int Counter<T>::count = 41;

static int pipe_ends[2];
static pthread_t posix_thread;
static std::thread *cxx_thread;
static pthread_key_t key;

static void wait_for_end()
{
    char byte;
    while (read(pipe_ends[0], &byte, 1) != 1) {
    }
}

extern "C" {
int answer() { return ++Counter<int>::count; }

int start_threads()
{
    if (pipe(pipe_ends) != 0) {
        return -1;
    }
    cxx_thread = new std::thread(wait_for_end);
    return pthread_create(&posix_thread, nullptr, [](void *) -> void * { wait_for_end(); return nullptr; }, nullptr);
}

int end_threads()
{
    if (write(pipe_ends[1], "..", 2) != 2) {
        return -1;
    }
    cxx_thread->join();
    delete cxx_thread;
    int problem = pthread_join(posix_thread, nullptr);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    return problem;
}

int set_key()
{
    pthread_key_create(&key, [](void *) {});
    return pthread_setspecific(key, &key);
}

/* The destructor says that it runs, and returns when it is told to. */
int set_slow_key(int begun, int end)
{
    static int ends[2];
    ends[0] = begun;
    ends[1] = end;
    pthread_key_create(&key, [](void *value) {
        char byte = 1;
        if (write(static_cast<int *>(value)[0], &byte, 1) == 1) {
            while (read(static_cast<int *>(value)[1], &byte, 1) != 1) {
            }
        }
    });
    return pthread_setspecific(key, ends);
}

int install_handler() { return signal(SIGUSR2, [](int) {}) == SIG_ERR; }
int remove_handler() { return signal(SIGUSR2, SIG_DFL) == SIG_ERR; }
}
