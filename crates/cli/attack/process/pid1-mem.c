// name: pid1-mem
// area: process
// about: Opens /proc/PID/mem of PID 1, the parent and other users' processes, by every path.
// expect: blocked
// control: host

#include "attack.h"

ATTACK(pid1_mem)
{
    for (pid_t pid = 0; (pid = attack_next_pid(pid));) {
        long uid = attack_uid_of(pid);
        if (pid == getpid() || uid < 0)
            continue;
        if (pid != 1 && pid != getppid() && uid == (long)getuid())
            continue;
        char path[96];
        snprintf(path, sizeof path, "/proc/%d/mem", pid);
        MUST_FAIL(path, open(path, O_RDWR | O_CLOEXEC));
        MUST_FAIL(path, open(path, O_RDONLY | O_CLOEXEC));
        snprintf(path, sizeof path, "/proc/%d/task/%d/mem", pid, pid);
        MUST_FAIL(path, open(path, O_WRONLY | O_CLOEXEC));
        snprintf(path, sizeof path, "/proc/self/root/proc/%d/mem", pid);
        MUST_FAIL(path, open(path, O_RDWR | O_CLOEXEC));
    }
    BLOCKED("memory files of foreign processes: %s", attack_tally());
}
