// name: memory-tree
// area: resources
// about: Spreads memory over many processes, each of them below the limit.
// expect: limit memory
// limits: memory=128Mi timeout=60s

#include "attack.h"

ATTACK(memory_tree)
{
    uint64_t limit = attack_env_number("ATTACK_LIMIT_MEMORY", 512 * MIB);
    uint64_t share = limit / 4;
    unsigned wanted = (unsigned)((limit + 2 * GIB) / share);
    int ready[2], hold[2];
    if (pipe(ready) || pipe(hold))
        attack_give_up("pipe: %s", strerror(errno));
    unsigned held = 0;
    for (; held < wanted; held++) {
        pid_t child = fork();
        if (child < 0)
            break;
        if (child == 0) {
            close(hold[1]);
            char *block = malloc(share), byte = block != NULL;
            if (block)
                attack_touch(block, share);
            if (write(ready[1], &byte, 1) != 1)
                _exit(1);
            _exit(read(hold[0], &byte, 1) < 0); // Ends with its parent.
        }
        char byte;
        if (!attack_await_byte(ready[0], &byte) || !byte)
            break;
    }
    if (held == wanted)
        ESCAPED("%u processes hold %llu MiB each", held, (unsigned long long)(share / MIB));
    BLOCKED("stopped at %u processes of %llu MiB", held, (unsigned long long)(share / MIB));
}
