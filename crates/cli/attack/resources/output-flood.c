// name: output-flood
// area: resources
// about: Writes 1 GB without a line break to standard output.
// expect: contained
// limits: timeout=120s

#include "attack.h"

ATTACK(output_flood)
{
    static char block[65536];
    memset(block, 'f', sizeof block);
    for (uint64_t sent = 0; sent < 1000000000;) {
        ssize_t length = write(1, block, sizeof block);
        if (length <= 0)
            attack_give_up("write: %s", strerror(errno));
        sent += (uint64_t)length;
    }
    putchar('\n');
    BLOCKED("wrote 1 GB and was neither blocked nor killed");
}
