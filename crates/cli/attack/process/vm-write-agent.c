// name: vm-write-agent
// area: process
// about: Reads and writes the memory of PID 1 and other users' processes with process_vm_readv and writev.
// expect: blocked
// control: host

#include "attack.h"

#include <sys/uio.h>

ATTACK(vm_write_agent)
{
    char bytes[8] = "hostile";
    // The address need not be mapped: permission is judged first, and EFAULT would tell
    // that it was granted. A wrong address also keeps a success harmless.
    struct iovec here = {bytes, sizeof bytes}, there = {(void *)0x10, sizeof bytes};
    for (pid_t pid = 0; (pid = attack_next_pid(pid));) {
        long uid = attack_uid_of(pid);
        if (pid == getpid() || uid < 0)
            continue;
        if (pid != 1 && pid != getppid() && uid == (long)getuid())
            continue;
        MUST_REFUSE("process_vm_readv", process_vm_readv(pid, &here, 1, &there, 1, 0));
        MUST_REFUSE("process_vm_writev", process_vm_writev(pid, &here, 1, &there, 1, 0));
    }
    BLOCKED("process_vm_* on foreign processes: %s", attack_tally());
}
