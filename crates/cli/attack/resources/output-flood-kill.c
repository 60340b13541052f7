// name: output-flood-kill
// area: resources
// about: Writes 1 GB where the execution is to be ended at 16 MiB of output.
// expect: limit output
// limits: output-kill=16Mi timeout=120s

#include "attack.h"

ATTACK(output_flood_kill)
{
    static char block[65536];
    memset(block, 'k', sizeof block);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    for (uint64_t sent = 0; sent < 1000000000;) {
        ssize_t length = write(1, block, sizeof block);
        if (length <= 0)
            attack_give_up("write: %s", strerror(errno));
        sent += (uint64_t)length;
    }
    putchar('\n');
    ESCAPED("wrote 1 GB");
}
