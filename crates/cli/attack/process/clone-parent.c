// name: clone-parent
// area: process
// about: Makes siblings instead of children (CLONE_PARENT), whose end PID 1 gets to hear with a signal of their choice.
// expect: contained

#include "attack.h"

#include <sched.h>
#include <sys/prctl.h>

ATTACK(clone_parent)
{
    if (getpid() == 1)
        attack_give_up("this program is PID 1 itself");
    int made = 0;
    int numbers[] = {SIGKILL, SIGSTOP, SIGTERM, 0};
    for (unsigned i = 0; i < 4; i++) {
        long pid = syscall(SYS_clone, CLONE_PARENT | (unsigned long)numbers[i], NULL, NULL, NULL, 0);
        if (pid == 0)
            _exit(77);
        made += pid > 0;
    }
    // One that stays: it is not below this process, but belongs to the same execution.
    long pid = syscall(SYS_clone, (unsigned long)(CLONE_PARENT | SIGCHLD), NULL, NULL, NULL, 0);
    if (pid == 0) {
        prctl(PR_SET_NAME, "atk-daemon");
        setsid();
        alarm(120);
        for (;;)
            pause();
    }
    attack_sleep_ms(100);
    char state = attack_state_of(1);
    if (state == 0 || state == 'T' || state == 'Z')
        ESCAPED("PID 1 is in state %c", state ? state : '?');
    BLOCKED("PID 1 goes on in state %c with %d siblings", state, made + (pid > 0));
}
