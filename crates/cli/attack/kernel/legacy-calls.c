// name: legacy-calls
// area: kernel
// about: Old privileged calls: port access, process accounting, hanging up the terminal.
// expect: blocked
// control: host

#include "attack.h"

ATTACK(legacy_calls)
{
#ifdef SYS_ioperm
    MUST_REFUSE("ioperm", syscall(SYS_ioperm, 0x80, 1, 1));
    MUST_REFUSE("iopl", syscall(SYS_iopl, 3));
#endif
    MUST_REFUSE("acct", acct("/sandkeep-attack-none"));
    MUST_REFUSE("vhangup", vhangup());
    BLOCKED("old calls: %s", attack_tally());
}
