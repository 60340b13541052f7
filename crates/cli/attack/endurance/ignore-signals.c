// name: ignore-signals
// area: endurance
// about: Blocks and ignores every signal and does nothing but wait.
// expect: timeout
// limits: timeout=2s

#include "attack.h"

ATTACK(ignore_signals)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    for (int number = 1; number < 65; number++)
        signal(number, SIG_IGN);
    for (uint64_t end = attack_now_ms() + 60000; attack_now_ms() < end;)
        attack_sleep_ms(100);
    ESCAPED("waited for a minute");
}
