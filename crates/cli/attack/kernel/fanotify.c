// name: fanotify
// area: kernel
// about: Watches whole mounts and file systems with fanotify.
// expect: blocked
// control: host

#include "attack.h"

#include <sys/fanotify.h>

ATTACK(fanotify)
{
    MUST_REFUSE("fanotify_init(content)", fanotify_init(FAN_CLASS_CONTENT, O_RDONLY));
    MUST_REFUSE("fanotify_init(notif)", fanotify_init(FAN_CLASS_NOTIF, O_RDONLY));
    MUST_REFUSE("fanotify_mark", fanotify_mark(-1, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_OPEN, -1, "/"));
    BLOCKED("fanotify: %s", attack_tally());
}
