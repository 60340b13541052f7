// name: module-load
// area: kernel
// about: Loads and removes kernel modules.
// expect: blocked

#include "attack.h"

ATTACK(module_load)
{
    // Neither is a module, so a success of the permission check changes nothing.
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    MUST_REFUSE("delete_module", syscall(SYS_delete_module, "sandkeep_attack_none", O_NONBLOCK));
    MUST_REFUSE("init_module", syscall(SYS_init_module, "not a module", 12, ""));
    MUST_REFUSE("finit_module", syscall(SYS_finit_module, file, "", 0));
    BLOCKED("modules: %s", attack_tally());
}
