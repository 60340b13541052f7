// name: fork-exponential
// area: resources
// about: Every process forks too, in sessions of their own, ignoring signals; bounded to 5,000 and 20 seconds.
// expect: contained
// limits: pids=64 timeout=60s

#include "attack.h"

#include <sys/mman.h>
#include <sys/prctl.h>

static _Atomic uint64_t *alive;

static void explode(uint64_t end)
{
    for (int number = 1; number < 32; number++)
        signal(number, SIG_IGN);
    while (attack_now_ms() < end) {
        if (*alive >= 5000)
            break;
        pid_t child = fork();
        if (child == 0) {
            setsid();
            prctl(PR_SET_NAME, "atk-daemon");
            ++*alive;
            explode(end);
            _exit(0);
        }
        if (child < 0)
            attack_sleep_ms(1);
    }
    while (attack_now_ms() < end)
        attack_sleep_ms(10);
}

ATTACK(fork_exponential)
{
    uint64_t limit = attack_env_number("ATTACK_LIMIT_PROCESSES", 256);
    uint64_t end = attack_now_ms() + 20000;
    alive = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (alive == MAP_FAILED)
        attack_give_up("mmap: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0) {
        explode(end);
        _exit(0);
    }
    attack_sleep_ms(3000);
    // None ends before the deadline, so what was made in all is what is alive.
    if (*alive > limit)
        ESCAPED("%llu processes at once", (unsigned long long)*alive);
    BLOCKED("no more than %llu processes; they are still trying", (unsigned long long)*alive);
}
