// name: memory-pipes
// area: resources
// about: Fills pipes, as large as allowed and as many as allowed, in many processes.
// expect: contained
// limits: memory=128Mi timeout=60s

#include "attack.h"

#include <sys/mman.h>

static _Atomic uint64_t *total;

static void fill(uint64_t ceiling)
{
    static char block[65536];
    for (int ends[2]; pipe2(ends, O_NONBLOCK) == 0 && *total < ceiling;) {
        fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
        for (ssize_t length; (length = write(ends[1], block, sizeof block)) > 0;)
            *total += (uint64_t)length;
    }
}

ATTACK(memory_pipes)
{
    uint64_t ceiling = attack_env_number("ATTACK_LIMIT_MEMORY", 512 * MIB) + 2 * GIB;
    total = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int ready[2], hold[2];
    if (total == MAP_FAILED || pipe(ready) || pipe(hold))
        attack_give_up("set-up: %s", strerror(errno));
    for (int i = 0; i < 64 && *total < ceiling; i++) {
        pid_t child = fork();
        if (child < 0)
            break;
        if (child == 0) {
            close(hold[1]);
            char byte = 1;
            fill(ceiling);
            if (write(ready[1], &byte, 1) != 1)
                _exit(1);
            _exit(read(hold[0], &byte, 1) < 0); // Holds the pipes until its parent ends.
        }
        char byte;
        if (!attack_await_byte(ready[0], &byte))
            BLOCKED("a child was killed with %llu MiB written", (unsigned long long)(*total / MIB));
    }
    if (*total >= ceiling)
        ESCAPED("pipes hold %llu MiB", (unsigned long long)(*total / MIB));
    BLOCKED("pipes took no more than %llu MiB", (unsigned long long)(*total / MIB));
}
