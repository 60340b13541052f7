# name: pid-roots
# area: proc
# about: Walks through the root, the working directory and the descriptors of every process it can see.
# expect: blocked
# canary: ATTACK_HOST_SECRET_PATH
# control: host

[ -n "${ATTACK_HOST_SECRET_PATH:-}" ] || exit 2
own=$(stat -L -c %d:%i /)
seen=0
for process in /proc/[0-9]*; do
    for link in root cwd; do
        seen=$((seen + 1))
        if [ -e "$process/$link$ATTACK_HOST_SECRET_PATH" ]; then
            echo "ESCAPED $process/$link leads to the host's file"
            exit 0
        fi
    done
    there=$(stat -L -c %d:%i "$process/root" 2>/dev/null)
    if [ -n "$there" ] && [ "$there" != "$own" ]; then
        echo "ESCAPED $process/root is another root"
        exit 0
    fi
    for fd in "$process"/fd/*; do
        if [ -d "$fd/" ] && [ -e "$fd/..$ATTACK_HOST_SECRET_PATH" ]; then
            echo "ESCAPED $fd leads to the host's file"
            exit 0
        fi
    done
done
echo "BLOCKED $seen links lead to this root or nowhere"
