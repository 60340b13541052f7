// name: kexec
// area: kernel
// about: Loads another kernel to jump into.
// expect: blocked

#include "attack.h"

ATTACK(kexec)
{
    // Flags that do not exist: judged after permission, so a success loads nothing.
    MUST_REFUSE("kexec_load", syscall(SYS_kexec_load, 0UL, 0UL, NULL, 0xffUL));
    MUST_REFUSE("kexec_file_load", syscall(SYS_kexec_file_load, -1, -1, 0UL, NULL, 0xff00UL));
    BLOCKED("kexec: %s", attack_tally());
}
