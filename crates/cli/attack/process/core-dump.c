// name: core-dump
// area: process
// about: Crashes so that the host's core handler is started, which runs as root outside.
// expect: blocked

#include "attack.h"

#include <sys/prctl.h>
#include <sys/resource.h>

static int crash(void *unused)
{
    (void)unused;
    if (chdir("/tmp"))
        return 1;
    prctl(PR_SET_DUMPABLE, 1);
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    if (setrlimit(RLIMIT_CORE, &all) != 0) {
        getrlimit(RLIMIT_CORE, &all);
        all.rlim_cur = all.rlim_max;
        setrlimit(RLIMIT_CORE, &all);
    }
    abort();
}

ATTACK(core_dump)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        crash(NULL);
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        attack_give_up("no child: %s", strerror(errno));
    // The kernel sets this flag when a core was written or handed to the handler of
    // core_pattern. A piped handler ignores a limit of 0; only a limit of 1 stops it.
    if (WCOREDUMP(status))
        ESCAPED("the crash was dumped, by a file or by the host's handler");
    BLOCKED("crashed with signal %d, no core", WTERMSIG(status));
}
