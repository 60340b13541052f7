// name: sysv-msg-sem
// area: ipc
// about: Opens System V message queues and semaphores that the harness made on the host.
// expect: blocked
// canary: ATTACK_SYSV_KEY
// control: host

#include "attack.h"

#include <sys/msg.h>
#include <sys/sem.h>

ATTACK(sysv_msg_sem)
{
    key_t key = (key_t)strtol(attack_env("ATTACK_SYSV_KEY"), NULL, 0);
    MUST_FAIL("msgget of the host's key", msgget(key, 0));
    MUST_FAIL("semget of the host's key", semget(key, 0, 0));
    struct msqid_ds queue;
    struct semid_ds set;
    for (int index = 0; index < 1024; index++) {
        MUST_FAIL("a queue that is not ours", msgctl(index, MSG_STAT, &queue));
        MUST_FAIL("a semaphore set that is not ours", semctl(index, 0, SEM_STAT, &set));
    }
    BLOCKED("queues and semaphores of the host: %s", attack_tally());
}
