// name: new-api
// area: mounts
// about: Mounts with the descriptor-based calls fsopen, open_tree, move_mount, fspick and mount_setattr.
// expect: blocked
// control: host

#include "attack.h"

#define CLONE_TREE 1
#define SYS_OPEN_TREE_ATTR 467

ATTACK(new_api)
{
    uint64_t attributes[4] = {0, 1, 0, 0}; // clears read-only
    MUST_REFUSE("fsopen(tmpfs)", syscall(SYS_fsopen, "tmpfs", 0));
    MUST_REFUSE("fsopen(cgroup2)", syscall(SYS_fsopen, "cgroup2", 0));
    MUST_REFUSE("fsopen(proc)", syscall(SYS_fsopen, "proc", 0));
    MUST_REFUSE("fspick(/)", syscall(SYS_fspick, AT_FDCWD, "/", 0));
    MUST_REFUSE("open_tree(/, clone)", syscall(SYS_open_tree, AT_FDCWD, "/", CLONE_TREE));
    MUST_REFUSE("open_tree_attr(/, clone)",
                syscall(SYS_OPEN_TREE_ATTR, AT_FDCWD, "/", CLONE_TREE, attributes, 32));
    MUST_REFUSE("mount_setattr(/usr, writable)",
                syscall(SYS_mount_setattr, AT_FDCWD, "/usr", 0, attributes, 32));
    MUST_REFUSE("mount_setattr(/, writable)",
                syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, attributes, 32));
    MUST_REFUSE("move_mount(/proc, /tmp)",
                syscall(SYS_move_mount, AT_FDCWD, "/proc", AT_FDCWD, "/tmp", 0));
    MUST_REFUSE("fsmount", syscall(SYS_fsmount, -1, 0, 0));
    MUST_REFUSE("fsconfig", syscall(SYS_fsconfig, -1, 6, NULL, NULL, 0));
    BLOCKED("descriptor-based mounts: %s", attack_tally());
}
