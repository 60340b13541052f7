// name: file-capabilities
// area: privilege
// about: Gives its own program capabilities and the set-user-id bit, and runs it again.
// expect: blocked
// control: namespace

#include "attack.h"

#include <sys/xattr.h>

static const char *const places[] = {"/tmp", "/workspace", "/dev/shm", "/home/user"};

static int copy_self(const char *path)
{
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int to = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0755);
    char bytes[65536];
    ssize_t length = -1;
    while (from >= 0 && to >= 0 && (length = read(from, bytes, sizeof bytes)) > 0)
        if (write(to, bytes, (size_t)length) != length)
            break;
    if (from >= 0)
        close(from);
    if (length != 0) {
        if (to >= 0)
            close(to);
        return -1;
    }
    return to;
}

// Runs the copy, which answers with its effective user id and whether it holds a capability.
static int run(void *path)
{
    setenv("ATTACK_INNER", "1", 1);
    execl((char *)path, "attack", "file-capabilities", (char *)NULL);
    return 0;
}

static int held(void)
{
    char line[256];
    unsigned long long effective = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "CapEff: %llx", &effective) == 1)
            break;
    // Inside-root of the dev profile holds eight; anything else here was gained.
    return (effective & ~0x4fbULL) != 0 || (getuid() != 0 && (effective != 0 || geteuid() != getuid()));
}

ATTACK(file_capabilities)
{
    if (getenv("ATTACK_INNER"))
        return held() ? 77 : 0;
    unsigned runs = 0;
    for (unsigned i = 0; i < 4; i++) {
        char path[96];
        snprintf(path, sizeof path, "%s/attack-capable-%d", places[i], getpid());
        int file = copy_self(path);
        if (file < 0) {
            unlink(path);
            continue;
        }
        uint32_t all[5] = {0x02000001, 0xffffffff, 0xffffffff, 0, 0};
        int set = fsetxattr(file, "security.capability", all, sizeof all, 0);
        // Where the owner cannot be changed the copy keeps ours, and the bits mean nothing.
        int owned = fchown(file, 0, 0);
        fchmod(file, 06755);
        close(file);
        int answer = attack_in_child(run, path);
        unlink(path);
        if (set == 0)
            ESCAPED("a capability attribute was accepted in %s", places[i]);
        if (answer == 77)
            ESCAPED("a set-user-id copy in %s (%s) ran with more rights", places[i],
                    owned == 0 ? "of user 0" : "our own");
        runs++;
    }
    if (runs == 0)
        BLOCKED("no place to put a program in");
    BLOCKED("%u copies with all bits set ran with nothing more", runs);
}
