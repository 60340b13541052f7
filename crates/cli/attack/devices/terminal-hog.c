// name: terminal-hog
// area: devices
// about: Takes all terminals, of which the kernel has some thousands for the whole host.
// expect: blocked
// control: host

#include "attack.h"

#define MANY 1000

ATTACK(terminal_hog)
{
    int held = 0;
    while (held < MANY && posix_openpt(O_RDWR | O_NOCTTY) >= 0)
        held++;
    if (held == MANY)
        ESCAPED("took %d terminals of the host's", held);
    BLOCKED("got %d terminals", held);
}
