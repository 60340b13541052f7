// name: userfaultfd
// area: kernel
// about: Opens userfaultfd, by call and by device, which stretches races in the kernel at will.
// expect: blocked
// control: host

#include "attack.h"

ATTACK(userfaultfd)
{
    MUST_REFUSE("userfaultfd(user mode only)", syscall(SYS_userfaultfd, 1 | O_CLOEXEC));
    MUST_REFUSE("userfaultfd", syscall(SYS_userfaultfd, O_CLOEXEC));
    MUST_FAIL("/dev/userfaultfd", open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
    BLOCKED("userfaultfd: %s", attack_tally());
}
