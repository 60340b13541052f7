// name: zombies
// area: endurance
// about: Leaves zombies and orphans, as many as it may, and ends without collecting them.
// expect: contained
// limits: pids=64 timeout=20s

#include "attack.h"

ATTACK(zombies)
{
    unsigned made = 0;
    for (; made < 4000; made++) {
        pid_t child = fork();
        if (child == 0) {
            // Every second one leaves an orphan that PID 1 must collect.
            if (made & 1 && fork() == 0)
                attack_sleep_ms(50);
            _exit(0);
        }
        if (child < 0)
            break;
    }
    BLOCKED("left %u zombies", made);
}
