// name: ptrace-agent
// area: process
// about: Traces PID 1, the parent and every process of another user.
// expect: blocked
// control: namespace

#include "attack.h"

#include <sys/ptrace.h>

ATTACK(ptrace_agent)
{
    for (pid_t pid = 0; (pid = attack_next_pid(pid));) {
        long uid = attack_uid_of(pid);
        if (pid == getpid() || uid < 0)
            continue;
        if (pid != 1 && pid != getppid() && uid == (long)getuid())
            continue;
        // Seizing does not stop the target, so a success is seen without doing damage.
        MUST_REFUSE("PTRACE_SEIZE", ptrace(PTRACE_SEIZE, pid, NULL, NULL));
        MUST_REFUSE("PTRACE_ATTACH", ptrace(PTRACE_ATTACH, pid, NULL, NULL));
    }
    BLOCKED("ptrace of foreign processes: %s", attack_tally());
}
