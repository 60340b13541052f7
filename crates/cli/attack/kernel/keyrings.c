// name: keyrings
// area: kernel
// about: Reads, joins and fills kernel keyrings, which user namespaces separate only in part.
// expect: blocked
// control: host

#include "attack.h"

ATTACK(keyrings)
{
    char text[256];
    for (long ring = -1; ring >= -5; ring--)
        MUST_REFUSE("keyctl get id", syscall(SYS_keyctl, 0, ring, 0));
    for (long ring = -1; ring >= -5; ring--)
        MUST_REFUSE("keyctl describe", syscall(SYS_keyctl, 6, ring, text, sizeof text));
    MUST_REFUSE("keyctl join session", syscall(SYS_keyctl, 1, NULL));
    MUST_REFUSE("keyctl persistent", syscall(SYS_keyctl, 22, (long)-1, (long)-2));
    MUST_REFUSE("request_key", syscall(SYS_request_key, "user", "sandkeep-none", NULL, -2));
    MUST_REFUSE("add_key", syscall(SYS_add_key, "user", "sandkeep-attack", "x", 1, -2));
    BLOCKED("keyrings: %s", attack_tally());
}
