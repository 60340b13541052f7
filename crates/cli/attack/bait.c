// `attack --bait` holds what the programs of area `ipc` look for, on the host and outside any sandbox: a System V
// segment, queue and semaphore set under one key, and a POSIX shared memory object and message queue of one name.
//
// It prints `KEY NAME`, answers each line of input with `untouched` or what was changed, and removes everything when
// its input ends, so that nothing is left however the harness died.

#include "attack.h"

#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

enum { SEGMENT_SIZE = 4096, SEMAPHORE_VALUE = 7 };

static const char content[] = "bait of the host";
static int segment = -1, queue = -1, set = -1, object = -1;
static char name[64], object_name[80];

static void remove_all(void)
{
    if (segment >= 0)
        shmctl(segment, IPC_RMID, NULL);
    if (queue >= 0)
        msgctl(queue, IPC_RMID, NULL);
    if (set >= 0)
        semctl(set, 0, IPC_RMID);
    segment = queue = set = -1;
}

// All three under `key`, or nothing when one of them has an owner already.
static int take(key_t key)
{
    const int flags = IPC_CREAT | IPC_EXCL | 0600;
    segment = shmget(key, SEGMENT_SIZE, flags);
    queue = msgget(key, flags);
    set = semget(key, 1, flags);
    if (segment >= 0 && queue >= 0 && set >= 0)
        return 1;
    remove_all();
    return 0;
}

static int plant_key(key_t *key)
{
    for (int i = 0; i < 64; i++) {
        // 0 is IPC_PRIVATE.
        *key = (key_t)(0x5a000000 + ((unsigned)getpid() * 64 + (unsigned)i));
        if (!take(*key))
            continue;
        char *memory = shmat(segment, NULL, 0);
        if (memory == (void *)-1)
            return 0;
        memcpy(memory, content, sizeof content);
        shmdt(memory);
        return semctl(set, 0, SETVAL, SEMAPHORE_VALUE) == 0;
    }
    return 0;
}

static int plant_name(void)
{
    snprintf(name, sizeof name, "sandkeep-bait-%d", getpid());
    snprintf(object_name, sizeof object_name, "/%s", name);
    object = shm_open(object_name, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (object < 0 || write(object, content, sizeof content) != sizeof content)
        return 0;
    return syscall(SYS_mq_open, name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL) >= 0;
}

static const char *changed(void)
{
    char seen[sizeof content] = "";
    struct shmid_ds shared;
    struct msqid_ds queued;
    if (shmctl(segment, IPC_STAT, &shared) || shared.shm_nattch)
        return "the System V segment is gone or attached";
    char *memory = shmat(segment, NULL, SHM_RDONLY);
    int same = memory != (void *)-1 && memcmp(memory, content, sizeof content) == 0;
    if (memory != (void *)-1)
        shmdt(memory);
    if (!same)
        return "the System V segment was written";
    if (msgctl(queue, IPC_STAT, &queued) || queued.msg_qnum)
        return "the System V queue is gone or was written";
    if (semctl(set, 0, GETVAL) != SEMAPHORE_VALUE)
        return "the System V semaphore is gone or was changed";
    if (pread(object, seen, sizeof seen, 0) != sizeof seen || memcmp(seen, content, sizeof seen))
        return "the POSIX object was written";
    int again = shm_open(object_name, O_RDONLY, 0);
    if (again < 0)
        return "the POSIX object is gone";
    close(again);
    int messages = (int)syscall(SYS_mq_open, name, O_RDONLY | O_NONBLOCK, 0, NULL);
    if (messages < 0)
        return "the POSIX queue is gone";
    close(messages);
    return NULL;
}

int attack_bait(void)
{
    key_t key = 0;
    char line[16];
    int planted = plant_key(&key) && plant_name();
    if (planted) {
        printf("%#x %s\n", (unsigned)key, name);
        fflush(stdout);
        while (fgets(line, sizeof line, stdin)) {
            const char *what = changed();
            puts(what ? what : "untouched");
            fflush(stdout);
        }
    } else {
        perror("bait");
    }
    remove_all();
    if (object >= 0)
        shm_unlink(object_name);
    syscall(SYS_mq_unlink, name);
    return planted ? 0 : 1;
}
