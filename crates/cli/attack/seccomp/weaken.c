// name: weaken
// area: seccomp
// about: Removes, replaces or suspends its own seccomp filter and then makes a refused call.
// expect: blocked
// control: host

#include "attack.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

static int mode_in_status(void)
{
    char line[256];
    int mode = -1;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "Seccomp: %d", &mode) == 1)
            break;
    if (status)
        fclose(status);
    return mode;
}

static void still_refused(const char *after)
{
    char what[96];
    snprintf(what, sizeof what, "unshare after %s", after);
    MUST_REFUSE(what, unshare(CLONE_NEWUSER));
    if (mode_in_status() != SECCOMP_MODE_FILTER)
        ESCAPED("no filter after %s", after);
}

ATTACK(weaken)
{
    if (mode_in_status() != SECCOMP_MODE_FILTER)
        ESCAPED("there is no filter: seccomp mode is %d", mode_in_status());
    prctl(PR_SET_SECCOMP, 0, 0, 0, 0);
    still_refused("switching off");
    prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        ESCAPED("no-new-privileges was taken back");
    struct sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
    struct sock_fprog all = {1, &allow};
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all, 0, 0);
    still_refused("an allow-all filter");
    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &all);
    still_refused("an allow-all filter for all threads");
    struct sock_filter log = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_LOG};
    struct sock_fprog logging = {1, &log};
    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, &logging);
    still_refused("a log-all filter");
    pid_t child = fork();
    if (child == 0) {
        for (;;)
            pause();
    }
    if (child > 0) {
        errno = 0;
        long suspended = ptrace(PTRACE_SEIZE, child, NULL, (void *)(1UL << 21));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        if (suspended == 0)
            ESCAPED("PTRACE_O_SUSPEND_SECCOMP was granted");
    }
    still_refused("suspending it by ptrace");
    BLOCKED("the filter stays: %s", attack_tally());
}
