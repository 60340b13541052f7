// name: syslog
// area: kernel
// about: Reads and clears the kernel log.
// expect: blocked
// control: host

#include "attack.h"

#include <sys/klog.h>

ATTACK(syslog)
{
    char text[64];
    MUST_REFUSE("syslog size", klogctl(10, NULL, 0));
    MUST_REFUSE("syslog read all", klogctl(3, text, sizeof text));
    MUST_REFUSE("syslog console level", klogctl(8, NULL, 1));
    MUST_FAIL("/dev/kmsg", open("/dev/kmsg", O_RDONLY | O_NONBLOCK));
    MUST_FAIL("/proc/kmsg", open("/proc/kmsg", O_RDONLY | O_NONBLOCK));
    BLOCKED("kernel log: %s", attack_tally());
}
