// name: open-by-handle
// area: mounts
// about: Opens the root of the host's file systems by a forged file handle (the shocker exploit).
// expect: blocked
// control: host

#include "attack.h"

ATTACK(open_by_handle)
{
    const char *anchors[] = {"/",    "/usr",        "/etc",    "/workspace", "/tmp",
                             "/home", "/etc/hostname", "/dev/null", "/proc",     "."};
    struct {
        struct file_handle head;
        unsigned char bytes[64];
    } handle;
    for (unsigned i = 0; i < sizeof anchors / sizeof anchors[0]; i++) {
        int anchor = open(anchors[i], O_RDONLY | O_CLOEXEC);
        if (anchor < 0)
            continue;
        // Inode 2 is the root directory of an ext file system; generation 0.
        memset(&handle, 0, sizeof handle);
        handle.head.handle_bytes = 8;
        handle.head.handle_type = 1;
        handle.bytes[0] = 2;
        MUST_REFUSE(anchors[i], open_by_handle_at(anchor, &handle.head, O_RDONLY));
        int mount_id;
        handle.head.handle_bytes = sizeof handle.bytes;
        if (name_to_handle_at(anchor, "", &handle.head, &mount_id, AT_EMPTY_PATH) == 0)
            MUST_REFUSE(anchors[i], open_by_handle_at(anchor, &handle.head, O_RDONLY));
        close(anchor);
    }
    if (attack_attempts() == 0)
        attack_give_up("no anchor could be opened");
    BLOCKED("forged handles: %s", attack_tally());
}
