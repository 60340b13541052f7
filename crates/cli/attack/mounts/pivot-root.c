// name: pivot-root
// area: mounts
// about: Changes the root with pivot_root.
// expect: blocked
// control: namespace

#include "attack.h"

ATTACK(pivot_root)
{
    MUST_REFUSE("pivot_root(., .)", syscall(SYS_pivot_root, ".", "."));
    MUST_REFUSE("pivot_root(/tmp, /tmp)", syscall(SYS_pivot_root, "/tmp", "/tmp"));
    MUST_REFUSE("pivot_root(/, /)", syscall(SYS_pivot_root, "/", "/"));
    BLOCKED("pivot_root: %s", attack_tally());
}
