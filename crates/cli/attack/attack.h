// Helpers of the compiled part of the escape suite.
//
// Every C program is one file `<area>/<name>.c` holding one `ATTACK(<name_with_underscores>)`
// body. The build compiles all of them with `main.c` into one static multi-call binary:
//
//     gcc -O1 -static -Wall -Wextra -pthread -I . -o attack *.c */*.c
//
// A body ends in exactly one BLOCKED or ESCAPED, which print the verdict line and exit 0.
// A program that cannot even make its attempt calls attack_give_up: no verdict, exit 2,
// and the harness counts that as a failure, so nothing passes by not having run.

#ifndef SANDKEEP_ATTACK_H
#define SANDKEEP_ATTACK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Defines `int attack_<id>(void)` and registers it under `<id>` with `_` written as `-`.
#define ATTACK(id)                                                     \
    int attack_##id(void);                                             \
    __attribute__((constructor)) static void attack_register_##id(void) \
    {                                                                  \
        attack_register(#id, attack_##id);                             \
    }                                                                  \
    int attack_##id(void)

// Prints the verdict line and ends the process with status 0. Only for the first process of
// the program: a forked child reports through its exit status.
#define BLOCKED(...) attack_verdict("BLOCKED", __VA_ARGS__)
#define ESCAPED(...) attack_verdict("ESCAPED", __VA_ARGS__)

// One attempt that only the sandbox may stop: an answer other than EPERM, EACCES or ENOSYS
// means that the call was let through to do its work, so it counts as an escape.
#define MUST_REFUSE(what, call)                                    \
    do {                                                           \
        long must_refuse_ret = (long)(call);                       \
        attack_judge(what, must_refuse_ret, attack_is_refusal());  \
    } while (0)

// One attempt where any error will do (ENOENT, ESRCH, ENXIO: the target is not there).
#define MUST_FAIL(what, call)                        \
    do {                                             \
        long must_fail_ret = (long)(call);           \
        attack_judge(what, must_fail_ret, 1);        \
    } while (0)

#define MIB (1024ULL * 1024ULL)
#define GIB (1024ULL * MIB)

void attack_register(const char *id, int (*body)(void));
__attribute__((noreturn, format(printf, 2, 3))) void attack_verdict(const char *verdict,
                                                                   const char *format, ...);
__attribute__((noreturn, format(printf, 1, 2))) void attack_give_up(const char *format, ...);

// True if errno says that the call was refused, and not that it was tried and went wrong.
int attack_is_refusal(void);
// Counts an attempt; ends the program with ESCAPED if it returned 0 or more, or if
// `refused` is 0. Remembers the error for attack_tally.
void attack_judge(const char *what, long ret, int refused);
// "7 attempts, last: Operation not permitted", for the detail of BLOCKED.
const char *attack_tally(void);
// Number of attempts judged so far; a scan that met no target has made none.
unsigned attack_attempts(void);

// Value of a variable that the harness must provide; gives up when it is missing.
const char *attack_env(const char *name);
// A number that the harness may provide (bytes, counts), else `fallback`.
uint64_t attack_env_number(const char *name, uint64_t fallback);

// Runs `body` in a forked child; returns its exit status, or minus the signal that ended it.
int attack_in_child(int (*body)(void *), void *argument);
// Writes to every byte; out of the compiler's sight, which would drop writes nobody reads.
void attack_touch(void *block, size_t size);
// Waits for a byte on `fd`; returns 1 with it in `byte`, or 0 once a child has ended, which
// for children that only wait means that something killed them.
int attack_await_byte(int fd, char *byte);
// Next process id listed in /proc after `previous` (start with 0), or 0 at the end.
pid_t attack_next_pid(pid_t previous);
// Real user id of a process, or -1 when it is gone.
long attack_uid_of(pid_t pid);
// State letter of a process in /proc/PID/stat ('T' is stopped), or 0 when it is gone.
char attack_state_of(pid_t pid);
// Sleeps for this many milliseconds.
void attack_sleep_ms(unsigned ms);
// Monotonic clock in milliseconds.
uint64_t attack_now_ms(void);

#endif
