// name: memory-memfd
// area: resources
// about: Writes into memfds without mapping them, so that the memory belongs to no process's address space.
// expect: limit memory
// limits: memory=128Mi timeout=60s

#include "attack.h"

#include <sys/mman.h>

ATTACK(memory_memfd)
{
    uint64_t ceiling = attack_env_number("ATTACK_LIMIT_MEMORY", 512 * MIB) + 2 * GIB, held = 0;
    static char block[MIB];
    memset(block, 0x5a, sizeof block);
    while (held < ceiling) {
        int fd = memfd_create("attack", 0);
        if (fd < 0)
            BLOCKED("memfd_create refused after %llu MiB", (unsigned long long)(held / MIB));
        for (int i = 0; i < 64; i++, held += MIB)
            if (write(fd, block, sizeof block) != sizeof block)
                BLOCKED("write refused after %llu MiB: %s", (unsigned long long)(held / MIB),
                        strerror(errno));
    }
    ESCAPED("wrote %llu MiB into memfds", (unsigned long long)(held / MIB));
}
