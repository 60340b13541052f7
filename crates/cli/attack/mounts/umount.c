// name: umount
// area: mounts
// about: Unmounts everything listed in mountinfo, to uncover what a mask or the new root hides.
// expect: blocked
// control: namespace

#include "attack.h"

#include <sys/mount.h>

ATTACK(umount)
{
    FILE *table = fopen("/proc/self/mountinfo", "r");
    if (!table)
        attack_give_up("mountinfo: %s", strerror(errno));
    char line[4096], where[2048];
    while (fgets(line, sizeof line, table)) {
        if (sscanf(line, "%*d %*d %*s %*s %2047s", where) != 1)
            continue;
        MUST_REFUSE(where, umount2(where, MNT_DETACH));
        MUST_REFUSE(where, umount2(where, MNT_FORCE | UMOUNT_NOFOLLOW));
    }
    fclose(table);
    MUST_REFUSE("umount of .", umount2(".", MNT_DETACH));
    BLOCKED("umount2(2): %s", attack_tally());
}
