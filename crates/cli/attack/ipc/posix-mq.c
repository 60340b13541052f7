// name: posix-mq
// area: ipc
// about: Opens a POSIX message queue that the harness made on the host.
// expect: blocked
// canary: ATTACK_POSIX_NAME
// control: host

#include "attack.h"

#include <dirent.h>

ATTACK(posix_mq)
{
    const char *name = attack_env("ATTACK_POSIX_NAME");
    char path[512];
    MUST_FAIL("mq_open of the host's queue", syscall(SYS_mq_open, name, O_RDONLY | O_NONBLOCK, 0, NULL));
    MUST_FAIL("mq_unlink of the host's queue", syscall(SYS_mq_unlink, name));
    snprintf(path, sizeof path, "/dev/mqueue/%s", name);
    MUST_FAIL("the host's queue as a file", open(path, O_RDONLY));
    DIR *queues = opendir("/dev/mqueue");
    for (struct dirent *entry; queues && (entry = readdir(queues));)
        if (entry->d_name[0] != '.')
            ESCAPED("/dev/mqueue shows %s", entry->d_name);
    BLOCKED("message queues of the host: %s", attack_tally());
}
