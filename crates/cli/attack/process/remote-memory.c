// name: remote-memory
// area: process
// about: Compares, moves and advises the memory of PID 1 (kcmp, move_pages, migrate_pages, process_madvise).
// expect: blocked
// control: namespace

#include "attack.h"

#include <sys/mman.h>
#include <sys/uio.h>

ATTACK(remote_memory)
{
    void *head;
    size_t length;
    unsigned long nodes = 1;
    struct iovec range = {(void *)0x400000, 4096};
    MUST_REFUSE("get_robust_list(1)", syscall(SYS_get_robust_list, 1, &head, &length));
    MUST_REFUSE("kcmp(1)", syscall(SYS_kcmp, 1, getpid(), 1, 0, 0));
    MUST_REFUSE("migrate_pages(1)", syscall(SYS_migrate_pages, 1, 8, &nodes, &nodes));
    MUST_REFUSE("move_pages(1)", syscall(SYS_move_pages, 1, 0, NULL, NULL, NULL, 0));
    int pidfd = (int)syscall(SYS_pidfd_open, 1, 0);
    if (pidfd >= 0)
        MUST_REFUSE("process_madvise(1)", syscall(SYS_process_madvise, pidfd, &range, 1, MADV_COLD, 0));
    BLOCKED("memory of PID 1 from outside: %s", attack_tally());
}
