// name: syslog
// area: kernel
// about: Reads and clears the kernel log.
// expect: blocked
// control: host

#include "attack.h"

#include <sys/klog.h>
#include <sys/sysmacros.h>

ATTACK(syslog)
{
    char text[64];
    MUST_REFUSE("syslog size", klogctl(10, NULL, 0));
    MUST_REFUSE("syslog read all", klogctl(3, text, sizeof text));
    MUST_REFUSE("syslog console level", klogctl(8, NULL, 1));
    MUST_FAIL("/dev/kmsg", open("/dev/kmsg", O_RDONLY | O_NONBLOCK));
    // A mask of /dev/null is opened, and has nothing.
    struct stat file;
    int log = open("/proc/kmsg", O_RDONLY | O_NONBLOCK);
    if (log < 0 || fstat(log, &file) || !S_ISCHR(file.st_mode) || file.st_rdev != makedev(1, 3))
        MUST_FAIL("/proc/kmsg", log);
    BLOCKED("kernel log: %s", attack_tally());
}
