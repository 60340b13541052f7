// name: overlay-userns
// area: namespaces
// about: Overlay in an own user namespace that copies up file capabilities and set-user-id files (CVE-2021-3493, CVE-2023-0386).
// expect: blocked
// control: host

#include "attack.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/xattr.h>

ATTACK(overlay_userns)
{
    const char *places[] = {"/tmp", "/workspace", "/dev/shm", "."};
    // Version 2 of the capability attribute: all capabilities, effective at exec.
    uint32_t capability[5] = {0x02000001, 0xffffffff, 0xffffffff, 0, 0};
    for (unsigned i = 0; i < 4; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s/attack-xattr-%d", places[i], getpid());
        int fd = open(path, O_CREAT | O_RDWR | O_EXCL | O_CLOEXEC, 0700);
        if (fd < 0)
            continue;
        unlink(path);
        MUST_FAIL("setxattr security.capability",
                  fsetxattr(fd, "security.capability", capability, sizeof capability, 0));
        MUST_FAIL("setxattr trusted.overlay.opaque",
                  fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0));
        close(fd);
    }
    if (attack_attempts() == 0)
        attack_give_up("no writable directory");
    MUST_REFUSE("unshare(NEWUSER|NEWNS)", unshare(CLONE_NEWUSER | CLONE_NEWNS));
    MUST_REFUSE("mount overlay", mount("overlay", "/tmp", "overlay", 0,
                                       "lowerdir=/usr,upperdir=/tmp,workdir=/tmp"));
    MUST_REFUSE("fsopen overlay", syscall(SYS_fsopen, "overlay", 0));
    BLOCKED("overlay by the code: %s", attack_tally());
}
