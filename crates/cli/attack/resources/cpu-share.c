// name: cpu-share
// area: resources
// about: Takes more processor time than its share, with as many processes as there are processors.
// expect: blocked
// needs: cpu=kernel
// limits: cpu=500m timeout=30s

#include "attack.h"

#include <sys/resource.h>

#define BURN_MS 3000

static int burn(void *unused)
{
    (void)unused;
    for (uint64_t end = attack_now_ms() + BURN_MS; attack_now_ms() < end;) {
    }
    return 0;
}

ATTACK(cpu_share)
{
    uint64_t share = attack_env_number("ATTACK_LIMIT_CPU_MILLIS", 1000);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t start = attack_now_ms();
    for (long i = 0; i < processors; i++)
        if (fork() == 0)
            _exit(burn(NULL));
    while (wait(NULL) > 0) {
    }
    uint64_t wall = attack_now_ms() - start;
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    uint64_t cpu = (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
                   (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
    uint64_t millis = cpu * 1000 / (wall ? wall : 1);
    // One period of the scheduler's quota (100 ms) may be used up before the first pause.
    if (millis > share + share / 4 + 100)
        ESCAPED("used %llu thousandths of a processor, %llu are allowed", (unsigned long long)millis,
                (unsigned long long)share);
    BLOCKED("used %llu thousandths of a processor of %llu", (unsigned long long)millis,
            (unsigned long long)share);
}
