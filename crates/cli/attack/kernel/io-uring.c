// name: io-uring
// area: kernel
// about: Sets up io_uring, whose operations no seccomp filter sees.
// expect: blocked
// control: host

#include "attack.h"

ATTACK(io_uring)
{
    unsigned char parameters[120] = {0};
    MUST_REFUSE("io_uring_setup", syscall(SYS_io_uring_setup, 4, parameters));
    MUST_REFUSE("io_uring_enter", syscall(SYS_io_uring_enter, -1, 1, 0, 0, NULL, 0));
    MUST_REFUSE("io_uring_register", syscall(SYS_io_uring_register, -1, 0, NULL, 0));
    BLOCKED("io_uring: %s", attack_tally());
}
