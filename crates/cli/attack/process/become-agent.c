// name: become-agent
// area: process
// about: Inside-root takes the user id of PID 1 and then does to it what a same-user process may do.
// expect: blocked
// profiles: dev
// users: root
// control: namespace

#include "attack.h"

#include <grp.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/resource.h>

static const char *found[] = {"nothing",        "prlimit",     "setpriority", "ioprio_set",
                              "sched_setaffinity", "/proc/1/mem", "ptrace",      "stopping it"};

// Runs with the agent's id; returns an index into `found`.
static int attack_as(void *argument)
{
    uid_t uid = *(uid_t *)argument;
    unsigned long mask[128];
    struct rlimit limit;
    if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
        return 0;
    if (syscall(SYS_prlimit64, 1, RLIMIT_CPU, NULL, &limit) == 0)
        return 1;
    errno = 0;
    int nice = getpriority(PRIO_PROCESS, 1);
    if (errno == 0 && setpriority(PRIO_PROCESS, 1, nice) == 0)
        return 2;
    long ioprio = syscall(SYS_ioprio_get, 1, 1);
    if (syscall(SYS_ioprio_set, 1, 1, ioprio < 0 ? 0 : ioprio) == 0)
        return 3;
    memset(mask, 0xff, sizeof mask);
    if (syscall(SYS_sched_setaffinity, 1, sizeof mask, mask) == 0)
        return 4;
    if (open("/proc/1/mem", O_RDWR) >= 0)
        return 5;
    if (ptrace(PTRACE_SEIZE, 1, NULL, NULL) == 0)
        return 6;
    kill(1, SIGSTOP);
    kill(1, SIGKILL);
    attack_sleep_ms(50);
    return attack_state_of(1) == 'T' ? 7 : 0;
}

ATTACK(become_agent)
{
    uid_t candidates[] = {(uid_t)attack_uid_of(1), 65533, 65534};
    for (unsigned i = 0; i < 3; i++) {
        int how = attack_in_child(attack_as, &candidates[i]);
        if (how < 0)
            attack_give_up("child ended by signal %d", -how);
        if (how > 0)
            ESCAPED("as user %u, %s on PID 1 worked", candidates[i], found[how]);
    }
    BLOCKED("as user %u, 65533 and 65534: nothing worked on PID 1", candidates[0]);
}
