// name: kill-init
// area: process
// about: Sends all 64 signals to PID 1 and the parent through six system calls, SIGKILL and SIGSTOP first.
// expect: blocked

#include "attack.h"

static void check(int number)
{
    char state = attack_state_of(1);
    if (state == 0 || state == 'Z' || state == 'X')
        ESCAPED("PID 1 is dead after signal %d", number);
    if (state == 'T' || state == 't')
        ESCAPED("PID 1 is stopped after signal %d", number);
}

static void send_every_way(pid_t pid, int number)
{
    siginfo_t info = {.si_signo = number, .si_code = SI_QUEUE};
    syscall(SYS_kill, pid, number);
    syscall(SYS_tkill, pid, number);
    syscall(SYS_tgkill, pid, pid, number);
    syscall(SYS_rt_sigqueueinfo, pid, number, &info);
    syscall(SYS_rt_tgsigqueueinfo, pid, pid, number, &info);
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd >= 0) {
        syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
        close(pidfd);
    }
}

ATTACK(kill_init)
{
    if (getpid() == 1)
        attack_give_up("this program is PID 1 itself");
    // If one of these works, this process dies with PID 1 and there is no verdict, which
    // the harness counts as a failure.
    send_every_way(1, SIGKILL);
    send_every_way(1, SIGSTOP);
    for (int number = 1; number <= 64; number++) {
        send_every_way(1, number);
        if (getppid() > 1)
            send_every_way(getppid(), number);
        check(number);
    }
    // Signals are delivered late if PID 1 was busy: look again for a while.
    for (int i = 0; i < 20; i++) {
        attack_sleep_ms(10);
        check(0);
    }
    BLOCKED("PID 1 survived 64 signals by 6 system calls");
}
