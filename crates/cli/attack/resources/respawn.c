// name: respawn
// area: resources
// about: Two processes that start each other again whenever one is killed, racing the killer until a timeout.
// expect: timeout
// limits: timeout=2s pids=64

#include "attack.h"

#include <sys/prctl.h>

// Each generation waits for the end of the other by a pipe that only the other holds open.
static void live(uint64_t end)
{
    while (attack_now_ms() < end) {
        int watch[2];
        if (pipe(watch)) {
            attack_sleep_ms(1);
            continue;
        }
        pid_t child = fork();
        if (child == 0) {
            char byte;
            close(watch[1]);
            setsid();
            prctl(PR_SET_NAME, "atk-daemon");
            // Returns when the parent is dead; then this one becomes the parent.
            while (read(watch[0], &byte, 1) > 0) {
            }
            close(watch[0]);
            live(end);
            _exit(0);
        }
        close(watch[0]);
        int status;
        if (child > 0)
            waitpid(child, &status, 0);
        close(watch[1]);
    }
}

ATTACK(respawn)
{
    for (int number = 1; number < 32; number++)
        if (number != SIGCHLD)
            signal(number, SIG_IGN);
    live(attack_now_ms() + 60000);
    ESCAPED("lived for a minute");
}
