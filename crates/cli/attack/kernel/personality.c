// name: personality
// area: kernel
// about: Switches off address randomisation and makes readable memory executable by personality(2).
// expect: blocked
// control: host

#include "attack.h"

#include <sys/personality.h>

ATTACK(personality)
{
    MUST_REFUSE("ADDR_NO_RANDOMIZE", syscall(SYS_personality, ADDR_NO_RANDOMIZE));
    MUST_REFUSE("READ_IMPLIES_EXEC", syscall(SYS_personality, READ_IMPLIES_EXEC));
    MUST_REFUSE("MMAP_PAGE_ZERO", syscall(SYS_personality, MMAP_PAGE_ZERO));
    MUST_REFUSE("ADDR_COMPAT_LAYOUT", syscall(SYS_personality, ADDR_COMPAT_LAYOUT));
    BLOCKED("personality: %s", attack_tally());
}
