// name: memory-page-tables
// area: resources
// about: Touches one byte of every 2 MiB of a huge mapping for reading: page tables grow, resident memory does not.
// expect: limit memory
// needs: memory=kernel
// limits: memory=128Mi timeout=60s

#include "attack.h"

#include <sys/mman.h>

ATTACK(memory_page_tables)
{
    // One table of 4 KiB per touch; the zero page that it points to is shared.
    uint64_t ceiling = attack_env_number("ATTACK_LIMIT_MEMORY", 512 * MIB) + 512 * MIB, tables = 0;
    while (tables < ceiling) {
        volatile char *region = mmap(NULL, 64 * GIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (region == MAP_FAILED)
            BLOCKED("mmap refused with %llu MiB of tables", (unsigned long long)(tables / MIB));
        madvise((void *)region, 64 * GIB, MADV_NOHUGEPAGE);
        for (uint64_t at = 0; at < 64 * GIB && tables < ceiling; at += 2 * MIB, tables += 4096)
            (void)region[at];
    }
    ESCAPED("made %llu MiB of page tables", (unsigned long long)(tables / MIB));
}
