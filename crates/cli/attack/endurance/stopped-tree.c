// name: stopped-tree
// area: endurance
// about: Stops itself and its children, so that what waits for them to react waits for ever.
// expect: timeout
// limits: timeout=2s

#include "attack.h"

#include <sys/prctl.h>

ATTACK(stopped_tree)
{
    pid_t self = getpid(), children[4];
    for (int i = 0; i < 4; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            if (i & 1)
                setsid();
            prctl(PR_SET_NAME, "atk-daemon");
            raise(SIGSTOP);
            _exit(0);
        }
    }
    // Ends them all in a minute, in case nobody else does.
    if (fork() == 0) {
        attack_sleep_ms(60000);
        for (int i = 0; i < 4; i++)
            if (children[i] > 0)
                kill(children[i], SIGKILL);
        kill(self, SIGKILL);
        _exit(0);
    }
    raise(SIGSTOP);
    ESCAPED("somebody continued the stopped tree");
}
