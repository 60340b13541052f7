// name: perf
// area: kernel
// about: Opens performance counters on itself, on PID 1 and on a whole processor.
// expect: blocked
// control: host

#include "attack.h"

ATTACK(perf)
{
    uint32_t attributes[32] = {1, sizeof attributes}; // PERF_TYPE_SOFTWARE, cpu clock
    MUST_REFUSE("perf_event_open(self)", syscall(SYS_perf_event_open, attributes, 0, -1, -1, 0));
    MUST_REFUSE("perf_event_open(1)", syscall(SYS_perf_event_open, attributes, 1, -1, -1, 0));
    MUST_REFUSE("perf_event_open(cpu 0)", syscall(SYS_perf_event_open, attributes, -1, 0, -1, 0));
    BLOCKED("perf_event_open: %s", attack_tally());
}
