# name: core-pattern
# area: proc
# about: Points core_pattern and other helpers of the kernel at a program of its own, by every path to /proc.
# expect: blocked
# control: host

# Opened for appending only: the permission shows, the value stays.
tried=0
for proc in /proc /proc/self/root/proc /proc/1/root/proc /proc/thread-self/root/proc; do
    for file in sys/kernel/core_pattern sys/kernel/modprobe sys/kernel/poweroff_cmd \
        sys/fs/binfmt_misc/register sys/kernel/usermodehelper/bset sys/kernel/cad_pid; do
        tried=$((tried + 1))
        if (: >>"$proc/$file") 2>/dev/null; then
            echo "ESCAPED $proc/$file opens for writing"
            exit 0
        fi
    done
done
echo "BLOCKED $tried paths refuse writing"
