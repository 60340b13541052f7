// name: ptmx
// area: devices
// about: Looks in /dev/pts and at the console for terminals of the host.
// expect: blocked
// control: host

#include "attack.h"

#include <dirent.h>
#include <sys/ioctl.h>

ATTACK(ptmx)
{
    DIR *pts = opendir("/dev/pts");
    for (struct dirent *entry; pts && (entry = readdir(pts));) {
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        ESCAPED("/dev/pts/%s is a terminal that this program did not open", entry->d_name);
    }
    const char *consoles[] = {"/dev/tty0", "/dev/tty1", "/dev/ttyS0", "/dev/hvc0", "/dev/vcs", "/dev/vcsa"};
    for (unsigned i = 0; i < sizeof consoles / sizeof consoles[0]; i++)
        MUST_FAIL(consoles[i], open(consoles[i], O_RDWR | O_NOCTTY | O_NONBLOCK));
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    int number = -1;
    if (master >= 0 && ioctl(master, TIOCGPTN, &number) == 0 && number > 64)
        ESCAPED("a new terminal gets number %d, so others are open here", number);
    BLOCKED("terminals: new one is %d; %s", number, attack_tally());
}
