// name: swap
// area: kernel
// about: Turns swap files on and off.
// expect: blocked
// control: host

#include "attack.h"

#include <sys/swap.h>

ATTACK(swap)
{
    MUST_REFUSE("swapoff", swapoff("/sandkeep-attack-none"));
    MUST_REFUSE("swapon", swapon("/sandkeep-attack-none", 0));
    BLOCKED("swap: %s", attack_tally());
}
