// name: raise-capabilities
// area: privilege
// about: Takes capabilities by capset, ambient capabilities, secure bits and keepcaps.
// expect: blocked
// control: host

#include "attack.h"

#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>

// The eight that inside-root of the dev profile may hold: chown, dac_override, fowner,
// fsetid, kill, setgid, setuid, net_bind_service.
#define ALLOWED_FOR_ROOT 0x4fbULL

ATTACK(raise_capabilities)
{
    const char *profile = getenv("ATTACK_PROFILE");
    int dev = profile && strcmp(profile, "dev") == 0;
    for (int capability = 0; capability <= 40; capability++) {
        int allowed = dev && (ALLOWED_FOR_ROOT >> capability) & 1;
        if (allowed && getuid() == 0)
            continue;
        char what[48];
        snprintf(what, sizeof what, "capability %d", capability);
        struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
        struct __user_cap_data_struct data[2] = {{0}};
        data[capability / 32].effective = data[capability / 32].permitted =
            data[capability / 32].inheritable = 1u << (capability % 32);
        // A process may always drop what it holds, so ask for one more than now.
        struct __user_cap_data_struct now[2] = {{0}};
        if (syscall(SYS_capget, &head, now) == 0 &&
            now[capability / 32].permitted & (1u << (capability % 32)))
            ESCAPED("%s is already permitted", what);
        MUST_REFUSE(what, syscall(SYS_capset, &head, data));
        MUST_REFUSE("ambient capability", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0));
        if (!allowed && prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1)
            ESCAPED("%s is still in the bounding set", what);
    }
    MUST_REFUSE("secure bits", prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS_LOCKED | SECBIT_NOROOT, 0, 0, 0));
    BLOCKED("capabilities: %s", attack_tally());
}
