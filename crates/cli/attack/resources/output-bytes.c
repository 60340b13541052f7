// name: output-bytes
// area: resources
// about: Writes a million single bytes, alternating between the streams, to drown the reader in records.
// expect: contained
// limits: timeout=120s

#include "attack.h"

ATTACK(output_bytes)
{
    for (int i = 0; i < 1000000; i++)
        if (write(1 + (i & 1), "b", 1) != 1)
            attack_give_up("write: %s", strerror(errno));
    putchar('\n');
    BLOCKED("wrote a million single bytes");
}
