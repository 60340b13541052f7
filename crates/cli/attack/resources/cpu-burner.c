// name: cpu-burner
// area: resources
// about: Burns all processors with threads and processes that never wait.
// expect: timeout
// limits: timeout=2s

#include "attack.h"

#include <pthread.h>

static void *burn(void *unused)
{
    volatile uint64_t number = 1;
    uint64_t end = attack_now_ms() + 60000;
    for (uint64_t i = 1;; i++) {
        number = number * 6364136223846793005ULL + 1;
        if (i % 100000000 == 0 && attack_now_ms() > end)
            return unused;
    }
}

ATTACK(cpu_burner)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        if (fork() == 0) {
            setsid();
            burn(NULL);
            _exit(0);
        }
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, burn, NULL))
            threads[i] = 0;
    burn(NULL);
    ESCAPED("burned all processors for a minute");
}
