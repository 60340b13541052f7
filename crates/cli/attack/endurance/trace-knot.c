// name: trace-knot
// area: endurance
// about: Processes that trace each other and stop at every exit, so that a kill leaves them half dead.
// expect: timeout
// limits: timeout=2s

#include "attack.h"

#include <sys/prctl.h>
#include <sys/ptrace.h>

#define TRACE_EXIT (1UL << 6)
#define TRACE_FORK (7UL << 1)

ATTACK(trace_knot)
{
    for (int i = 0; i < 4; i++) {
        pid_t child = fork();
        if (child == 0) {
            prctl(PR_SET_NAME, "atk-daemon");
            setsid();
            for (uint64_t end = attack_now_ms() + 60000; attack_now_ms() < end;)
                attack_sleep_ms(100);
            _exit(0);
        }
        // With the exit event on, a killed tracee waits for its tracer before it is gone.
        if (child > 0)
            ptrace(PTRACE_SEIZE, child, NULL, (void *)(TRACE_EXIT | TRACE_FORK));
    }
    for (uint64_t end = attack_now_ms() + 60000; attack_now_ms() < end;)
        attack_sleep_ms(100);
    ESCAPED("waited for a minute");
}
