// name: mknod
// area: devices
// about: Makes device nodes for memory, disks, loop, fuse and kvm and opens them.
// expect: blocked
// control: host

#include "attack.h"

#include <sys/sysmacros.h>

ATTACK(mknod)
{
    struct {
        mode_t type;
        unsigned major, minor;
    } nodes[] = {{S_IFCHR, 1, 3},   {S_IFCHR, 1, 1},    {S_IFCHR, 1, 11},   {S_IFBLK, 8, 0},
                 {S_IFBLK, 7, 0},   {S_IFBLK, 253, 0},  {S_IFBLK, 254, 0},  {S_IFBLK, 259, 0},
                 {S_IFCHR, 10, 229}, {S_IFCHR, 10, 232}, {S_IFCHR, 10, 200}, {S_IFCHR, 4, 1}};
    const char *places[] = {"/tmp", "/workspace", "/dev", "/dev/shm", "/run", "/home/user", "."};
    unsigned made = 0;
    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++) {
        for (unsigned j = 0; j < sizeof nodes / sizeof nodes[0]; j++) {
            char path[96];
            snprintf(path, sizeof path, "%s/attack-node-%d", places[i], getpid());
            int ret = mknod(path, nodes[j].type | 0666, makedev(nodes[j].major, nodes[j].minor));
            if (ret == 0) {
                unlink(path);
                made++;
            }
            MUST_FAIL("mknod of a device", ret);
        }
    }
    BLOCKED("device nodes: %s, made %u", attack_tally(), made);
}
