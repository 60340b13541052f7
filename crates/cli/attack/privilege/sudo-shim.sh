# name: sudo-shim
# area: privilege
# about: Gets more from sudo and su than the profile gives: any root in strict, full capabilities in dev.
# expect: blocked
# users: user

# The eight capabilities of inside-root: 4fb in the kernel's hexadecimal mask.
attempts=0
for tool in "sudo -n" "sudo" "sudo -u root" "sudo -u #0" "sudo -u #-1" "su -c" "doas" "pkexec"; do
    attempts=$((attempts + 1))
    mask=$(timeout 3 $tool sed -n 's/^CapEff:\t//p' /proc/self/status 2>/dev/null </dev/null)
    [ -n "$mask" ] || continue
    number=$((16#$mask))
    if [ "${ATTACK_PROFILE:-strict}" = strict ] && [ "$number" -ne 0 ]; then
        echo "ESCAPED $tool gives capabilities $mask in strict"
        exit 0
    fi
    if [ $((number & ~0x4fb)) -ne 0 ]; then
        echo "ESCAPED $tool gives capabilities $mask"
        exit 0
    fi
    uid=$(timeout 3 $tool id -u 2>/dev/null </dev/null)
    if [ "${ATTACK_PROFILE:-strict}" = strict ] && [ "$uid" = 0 ]; then
        echo "ESCAPED $tool gives user 0 in strict"
        exit 0
    fi
done
echo "BLOCKED $attempts ways to ask for root gave no more than the profile"
