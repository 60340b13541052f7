// name: memory-sockets
// area: resources
// about: Fills the buffers of unix sockets in many processes, which only a kernel limit counts.
// expect: contained
// needs: memory=kernel
// limits: memory=128Mi timeout=60s

#include "attack.h"

#include <sys/mman.h>
#include <sys/socket.h>

static _Atomic uint64_t *total;

static void fill(uint64_t ceiling)
{
    static char block[65536];
    int size = 8 << 20;
    for (int ends[2]; socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0 && *total < ceiling;) {
        for (int i = 0; i < 2; i++) {
            setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
            for (ssize_t length; (length = write(ends[i], block, sizeof block)) > 0;)
                *total += (uint64_t)length;
        }
    }
}

ATTACK(memory_sockets)
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
            _exit(read(hold[0], &byte, 1) < 0);
        }
        char byte;
        if (!attack_await_byte(ready[0], &byte))
            BLOCKED("a child was killed with %llu MiB written", (unsigned long long)(*total / MIB));
    }
    if (*total >= ceiling)
        ESCAPED("socket buffers hold %llu MiB", (unsigned long long)(*total / MIB));
    BLOCKED("socket buffers took no more than %llu MiB", (unsigned long long)(*total / MIB));
}
