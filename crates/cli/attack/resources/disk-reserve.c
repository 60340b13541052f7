// name: disk-reserve
// area: resources
// about: Reserves disk blocks without writing (fallocate), past the end of the file too.
// expect: blocked
// limits: disk=64Mi timeout=30s

#include "attack.h"

#include <sys/resource.h>

#define KEEP_SIZE 1

ATTACK(disk_reserve)
{
    uint64_t limit = attack_env_number("ATTACK_LIMIT_DISK", GIB);
    uint64_t wanted = limit + limit / 4 + 64 * MIB;
    const char *places[] = {"/workspace", "/home/user", "/tmp", "/var/tmp", "/dev/shm"};
    signal(SIGXFSZ, SIG_IGN);
    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s/attack-reserve-%d", places[i], getpid());
        int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
        if (fd < 0)
            continue;
        unlink(path);
        MUST_FAIL(places[i], fallocate(fd, 0, 0, (off_t)wanted));
        if (ftruncate(fd, 0))
            attack_give_up("ftruncate: %s", strerror(errno));
        MUST_FAIL(places[i], fallocate(fd, KEEP_SIZE, 0, (off_t)wanted));
        close(fd);
    }
    if (attack_attempts() == 0)
        attack_give_up("no writable place");
    BLOCKED("reserving %llu MiB: %s", (unsigned long long)(wanted / MIB), attack_tally());
}
