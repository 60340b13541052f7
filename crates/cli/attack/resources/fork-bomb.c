// name: fork-bomb
// area: resources
// about: Makes processes that stay, up to 5,000.
// expect: contained
// limits: pids=64 timeout=60s

#include "attack.h"

ATTACK(fork_bomb)
{
    uint64_t limit = attack_env_number("ATTACK_LIMIT_PROCESSES", 256), made = 0;
    uint64_t end = attack_now_ms() + 20000;
    int hold[2];
    if (pipe(hold))
        attack_give_up("pipe: %s", strerror(errno));
    while (made < 5000 && attack_now_ms() < end) {
        pid_t child = fork();
        if (child == 0) {
            char byte;
            close(hold[1]);
            _exit(read(hold[0], &byte, 1) < 0); // Ends with the bomb.
        }
        if (child < 0)
            break;
        made++;
    }
    if (made > limit)
        ESCAPED("%llu processes at once", (unsigned long long)made);
    BLOCKED("fork refused after %llu processes: %s", (unsigned long long)made, strerror(errno));
}
