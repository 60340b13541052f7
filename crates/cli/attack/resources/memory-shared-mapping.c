// name: memory-shared-mapping
// area: resources
// about: Touches a shared anonymous mapping, which no limit on data segments counts.
// expect: limit memory
// limits: memory=128Mi timeout=60s

#include "attack.h"

#include <sys/mman.h>

ATTACK(memory_shared_mapping)
{
    uint64_t ceiling = attack_env_number("ATTACK_LIMIT_MEMORY", 512 * MIB) + 2 * GIB;
    for (uint64_t held = 0; held < ceiling; held += 16 * MIB) {
        char *block = mmap(NULL, 16 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED)
            BLOCKED("mmap refused after %llu MiB", (unsigned long long)(held / MIB));
        attack_touch(block, 16 * MIB);
    }
    ESCAPED("touched %llu MiB of shared mappings", (unsigned long long)(ceiling / MIB));
}
