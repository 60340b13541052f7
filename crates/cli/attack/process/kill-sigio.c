// name: kill-sigio
// area: process
// about: Has the kernel send SIGKILL and SIGSTOP to PID 1 for it, as the notice of a readable pipe.
// expect: blocked

#include "attack.h"

ATTACK(kill_sigio)
{
    if (getpid() == 1)
        attack_give_up("this program is PID 1 itself");
    int numbers[] = {SIGKILL, SIGSTOP, SIGTERM, SIGSEGV, 0};
    for (unsigned i = 0; i < 5; i++) {
        int ends[2];
        if (pipe(ends))
            attack_give_up("pipe: %s", strerror(errno));
        fcntl(ends[0], F_SETOWN, 1);
        fcntl(ends[0], F_SETSIG, numbers[i]);
        fcntl(ends[0], F_SETFL, O_ASYNC | O_NONBLOCK);
        for (int j = 0; j < 64; j++)
            if (write(ends[1], "x", 1) != 1)
                break;
        close(ends[0]);
        close(ends[1]);
    }
    for (int i = 0; i < 10; i++) {
        attack_sleep_ms(10);
        char state = attack_state_of(1);
        if (state == 0 || state == 'T' || state == 'Z')
            ESCAPED("PID 1 is in state %c", state ? state : '?');
    }
    BLOCKED("PID 1 survived signals sent in the name of a pipe");
}
