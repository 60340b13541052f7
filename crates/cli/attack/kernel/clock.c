// name: clock
// area: kernel
// about: Sets the clock of the machine.
// expect: blocked
// control: host

#include "attack.h"

#include <sys/time.h>
#include <sys/timex.h>

ATTACK(clock)
{
    // The tick length that is there is put back, which asks for the same permission as a
    // new time; only where that is refused is a time set.
    struct timex state = {0};
    if (adjtimex(&state) >= 0) {
        state.modes = ADJ_TICK;
        MUST_REFUSE("adjtimex", adjtimex(&state));
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    MUST_REFUSE("clock_settime", clock_settime(CLOCK_REALTIME, &now));
    struct timeval also = {now.tv_sec, now.tv_nsec / 1000};
    MUST_REFUSE("settimeofday", syscall(SYS_settimeofday, &also, NULL));
    state.modes = ADJ_TICK;
    MUST_REFUSE("clock_adjtime", syscall(SYS_clock_adjtime, CLOCK_REALTIME, &state));
    BLOCKED("clock: %s", attack_tally());
}
