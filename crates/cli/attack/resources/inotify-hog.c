// name: inotify-hog
// area: resources
// about: Takes all inotify instances, which the kernel counts for whoever made the sandbox, also outside of it.
// expect: blocked
// control: host

#include "attack.h"

#include <sys/inotify.h>

// A host's usual bound for one user is 128: taken to the half, others still have theirs.
#define FEW 64

ATTACK(inotify_hog)
{
    int held = 0;
    while (held < FEW && inotify_init1(0) >= 0)
        held++;
    if (held == FEW)
        ESCAPED("took %d inotify instances, of those that the host has for one user", held);
    BLOCKED("got %d inotify instances", held);
}
