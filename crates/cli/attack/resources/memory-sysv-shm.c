// name: memory-sysv-shm
// area: resources
// about: Fills System V segments and detaches them; they outlive every process that used them.
// expect: contained
// limits: memory=128Mi timeout=60s

#include "attack.h"

#include <sys/shm.h>

ATTACK(memory_sysv_shm)
{
    uint64_t ceiling = attack_env_number("ATTACK_LIMIT_MEMORY", 512 * MIB) + 2 * GIB, held = 0;
    for (; held < ceiling; held += 16 * MIB) {
        int id = shmget(IPC_PRIVATE, 16 * MIB, IPC_CREAT | 0600);
        char *block = id < 0 ? (char *)-1 : shmat(id, NULL, 0);
        if (block == (char *)-1)
            BLOCKED("refused after %llu MiB: %s", (unsigned long long)(held / MIB), strerror(errno));
        attack_touch(block, 16 * MIB);
        shmdt(block);
    }
    ESCAPED("left %llu MiB in segments", (unsigned long long)(held / MIB));
}
