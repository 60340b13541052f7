// name: memory-heap
// area: resources
// about: Allocates and touches heap until something stops it.
// expect: limit memory
// limits: memory=128Mi timeout=60s

#include "attack.h"

ATTACK(memory_heap)
{
    uint64_t ceiling = attack_env_number("ATTACK_LIMIT_MEMORY", 512 * MIB) + 2 * GIB;
    for (uint64_t held = 0; held < ceiling; held += MIB) {
        char *block = malloc(MIB);
        if (!block)
            BLOCKED("malloc refused after %llu MiB", (unsigned long long)(held / MIB));
        attack_touch(block, MIB);
    }
    ESCAPED("touched %llu MiB of heap", (unsigned long long)(ceiling / MIB));
}
