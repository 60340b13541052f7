// name: ptrace-rewrite
// area: seccomp
// about: A tracer turns its child's harmless call into a refused one after the filter has looked.
// expect: blocked
// needs: x86-64
// control: host

#include "attack.h"

#include <sched.h>
#include <sys/ptrace.h>
#include <sys/user.h>

ATTACK(ptrace_rewrite)
{
#ifdef __x86_64__
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        attack_give_up("fork: %s", strerror(errno));
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(3);
        raise(SIGSTOP);
        syscall(SYS_getppid);
        _exit(4);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status))
        BLOCKED("tracing an own child is refused");
    for (int stops = 0; stops < 64; stops++) {
        if (ptrace(PTRACE_SYSCALL, child, NULL, NULL) != 0)
            BLOCKED("the tracee cannot be driven: %s", strerror(errno));
        waitpid(child, &status, 0);
        if (!WIFSTOPPED(status))
            BLOCKED("the tracee ended before the rewrite took effect, status 0x%x", status);
        struct user_regs_struct registers;
        ptrace(PTRACE_GETREGS, child, NULL, &registers);
        if (registers.orig_rax != SYS_getppid)
            continue;
        registers.orig_rax = SYS_unshare;
        registers.rdi = CLONE_NEWUSER;
        if (ptrace(PTRACE_SETREGS, child, NULL, &registers) != 0)
            BLOCKED("registers cannot be set: %s", strerror(errno));
        ptrace(PTRACE_SYSCALL, child, NULL, NULL);
        waitpid(child, &status, 0);
        long result = -1;
        if (WIFSTOPPED(status)) {
            ptrace(PTRACE_GETREGS, child, NULL, &registers);
            result = (long)registers.rax;
        }
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        if (WIFSTOPPED(status) && result == 0)
            ESCAPED("a rewritten call made a user namespace");
        BLOCKED("the rewritten call returned %ld, status 0x%x", result, status);
    }
    kill(child, SIGKILL);
    attack_give_up("the tracee never made its call");
#else
    attack_give_up("written for x86-64 only");
#endif
}
