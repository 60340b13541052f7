// name: hidden-pids
// area: process
// about: Looks for processes that answer to kill(pid, 0) though /proc does not show them, and for kernel threads.
// expect: blocked
// control: host

#include "attack.h"

ATTACK(hidden_pids)
{
    unsigned visible = 0;
    for (pid_t pid = 0; (pid = attack_next_pid(pid));) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/status", pid);
        FILE *status = fopen(path, "r");
        if (!status)
            continue;
        char line[256];
        while (fgets(line, sizeof line, status))
            if (strstr(line, "kthreadd"))
                ESCAPED("the kernel's threads are visible, kthreadd is %d", pid);
        fclose(status);
        visible++;
    }
    for (pid_t pid = 2; pid < 70000; pid++) {
        errno = 0;
        if (kill(pid, 0) != 0 && errno != EPERM)
            continue;
        char path[64];
        snprintf(path, sizeof path, "/proc/%d", pid);
        struct stat entry;
        // Asked twice: the process may have ended in between.
        if (stat(path, &entry) != 0 && kill(pid, 0) == 0)
            ESCAPED("process %d exists but is not in /proc", pid);
    }
    BLOCKED("%u processes visible, none hidden, no kernel thread", visible);
}
