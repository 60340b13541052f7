// name: memory-lock
// area: resources
// about: Locks memory so that it can never be reclaimed, beyond any small allowance.
// expect: blocked
// limits: memory=512Mi timeout=30s

#include "attack.h"

#include <sys/mman.h>
#include <sys/resource.h>

ATTACK(memory_lock)
{
    struct rlimit limit = {0, 0};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_MEMLOCK, &limit);
    uint64_t locked = 0;
    for (; locked < 256 * MIB; locked += MIB) {
        void *block = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED || mlock(block, MIB) != 0)
            break;
    }
    if (locked == 256 * MIB)
        ESCAPED("locked 256 MiB");
    MUST_FAIL("huge pages", (long)mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0));
    MUST_FAIL("SHM_HUGETLB", syscall(SYS_shmget, 0, 2 * MIB, 01000 | 0600 | 04000));
    BLOCKED("locked %llu MiB at most: %s", (unsigned long long)(locked / MIB), attack_tally());
}
