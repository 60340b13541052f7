// name: thread-bomb
// area: resources
// about: Makes threads that stay, up to 5,000.
// expect: contained
// limits: pids=64 timeout=60s

#include "attack.h"

#include <pthread.h>

static void *stay(void *unused)
{
    for (;;)
        pause();
    return unused;
}

ATTACK(thread_bomb)
{
    uint64_t limit = attack_env_number("ATTACK_LIMIT_PROCESSES", 256), made = 0;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    int error = 0;
    for (pthread_t thread; made < 5000; made++)
        if ((error = pthread_create(&thread, &small, stay, NULL)) != 0)
            break;
    if (made > limit)
        ESCAPED("%llu threads at once", (unsigned long long)made);
    BLOCKED("refused after %llu threads: %s", (unsigned long long)made, strerror(error));
}
