// name: sysv-shm
// area: ipc
// about: Attaches a System V shared memory segment that the harness made on the host.
// expect: blocked
// canary: ATTACK_SYSV_KEY
// control: host

#include "attack.h"

#include <sys/shm.h>

ATTACK(sysv_shm)
{
    key_t key = (key_t)strtol(attack_env("ATTACK_SYSV_KEY"), NULL, 0);
    MUST_FAIL("shmget of the host's key", shmget(key, 0, 0));
    MUST_FAIL("shmget of the host's key, read", shmget(key, 0, 0400));
    struct shmid_ds segment;
    for (int index = 0; index < 1024; index++)
        MUST_FAIL("a segment that is not ours", shmctl(index, SHM_STAT, &segment));
    FILE *table = fopen("/proc/sysvipc/shm", "r");
    char line[512];
    unsigned lines = 0;
    while (table && fgets(line, sizeof line, table))
        lines++;
    if (lines > 1)
        ESCAPED("/proc/sysvipc/shm lists %u segments", lines - 1);
    BLOCKED("shared memory of the host: %s", attack_tally());
}
