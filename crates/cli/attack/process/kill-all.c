// name: kill-all
// area: process
// about: Signals everything it can with kill(-1), SIGSTOP and SIGKILL, and the group of PID 1.
// expect: contained

#include "attack.h"

ATTACK(kill_all)
{
    if (getpid() == 1)
        attack_give_up("this program is PID 1 itself");
    int numbers[] = {SIGSTOP, SIGCONT, SIGTERM, SIGKILL};
    for (unsigned i = 0; i < 4; i++) {
        kill(-1, numbers[i]);
        pid_t group = getpgid(1);
        if (group > 1)
            kill(-group, numbers[i]);
    }
    attack_sleep_ms(100);
    char state = attack_state_of(1);
    if (state == 0 || state == 'T' || state == 'Z')
        ESCAPED("PID 1 is in state %c", state ? state : '?');
    BLOCKED("PID 1 is in state %c after kill(-1)", state);
}
