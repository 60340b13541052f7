// name: bpf
// area: kernel
// about: Loads eBPF maps and programs.
// expect: blocked
// control: host

#include "attack.h"

ATTACK(bpf)
{
    uint32_t map[32] = {2, 4, 4, 1}; // an array of one four-byte value
    uint64_t program[2] = {0x00000000000000b7, 0x0000000000000095}; // r0 = 0; exit
    struct {
        uint32_t type, count;
        uint64_t instructions, license;
        uint64_t rest[16];
    } load = {1, 2, (uintptr_t)program, (uintptr_t) "GPL", {0}};
    MUST_REFUSE("BPF_MAP_CREATE", syscall(SYS_bpf, 0, map, sizeof map));
    MUST_REFUSE("BPF_PROG_LOAD", syscall(SYS_bpf, 5, &load, sizeof load));
    MUST_REFUSE("BPF_PROG_GET_NEXT_ID", syscall(SYS_bpf, 11, map, sizeof map));
    BLOCKED("bpf(2): %s", attack_tally());
}
