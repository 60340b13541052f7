// name: chroot-escape
// area: mounts
// about: The classic way out of a chroot: chroot into a subdirectory while a descriptor points above it.
// expect: blocked
// control: host

#include "attack.h"

ATTACK(chroot_escape)
{
    int above = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    MUST_REFUSE("chroot(/tmp)", chroot("/tmp"));
    MUST_REFUSE("chroot(/proc/1/root)", chroot("/proc/1/root"));
    MUST_REFUSE("chroot(.)", chroot("."));
    struct stat root, reached;
    if (above < 0 || fchdir(above) || stat("/", &root))
        attack_give_up("root: %s", strerror(errno));
    for (int i = 0; i < 64; i++)
        if (chdir("..") != 0)
            break;
    if (stat(".", &reached) == 0 && (reached.st_ino != root.st_ino || reached.st_dev != root.st_dev))
        ESCAPED("64 steps up from / lead to inode %lu, not to /", (unsigned long)reached.st_ino);
    BLOCKED("chroot: %s", attack_tally());
}
