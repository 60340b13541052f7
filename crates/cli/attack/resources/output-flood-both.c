// name: output-flood-both
// area: resources
// about: Floods both streams from two processes at once, with bytes of every value.
// expect: contained
// limits: timeout=120s

#include "attack.h"

static void flood(int fd)
{
    static char block[65536];
    for (unsigned i = 0; i < sizeof block; i++)
        block[i] = (char)(i * 7);
    for (uint64_t sent = 0; sent < 200 * MIB;) {
        ssize_t length = write(fd, block, sizeof block);
        if (length <= 0)
            _exit(1);
        sent += (uint64_t)length;
    }
}

ATTACK(output_flood_both)
{
    pid_t child = fork();
    if (child == 0) {
        flood(2);
        _exit(0);
    }
    flood(1);
    waitpid(child, NULL, 0);
    putchar('\n');
    BLOCKED("wrote 200 MiB to each stream");
}
