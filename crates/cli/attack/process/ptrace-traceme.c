// name: ptrace-traceme
// area: process
// about: Makes PID 1 its tracer by PTRACE_TRACEME from an orphan, so that its signals stop in the agent.
// expect: contained

#include "attack.h"

#include <sys/ptrace.h>

// An orphan is adopted by PID 1; once traced by it, its stops are reported to PID 1, which
// must not take them for the end of an execution or hang on them.
ATTACK(ptrace_traceme)
{
    int gate[2], done[2];
    if (pipe(gate) || pipe(done))
        attack_give_up("pipe: %s", strerror(errno));
    if (fork() == 0) {
        if (fork() == 0) {
            char byte;
            close(gate[1]);
            if (read(gate[0], &byte, 1) < 0)
                _exit(1);
            long traced = ptrace(PTRACE_TRACEME, 0, NULL, NULL);
            byte = traced == 0;
            if (write(done[1], &byte, 1) < 0)
                _exit(1);
            raise(SIGTRAP);
            raise(SIGSTOP);
            for (;;)
                pause();
        }
        _exit(0);
    }
    wait(NULL);
    close(gate[1]);
    char traced = 0;
    if (read(done[0], &traced, 1) != 1)
        attack_give_up("the orphan said nothing");
    char state = attack_state_of(1);
    if (state == 'T' || state == 't' || state == 'Z' || state == 0)
        ESCAPED("PID 1 is in state %c", state ? state : '?');
    BLOCKED("PID 1 goes on in state %c, traceme %s", state, traced ? "accepted" : "refused");
}
