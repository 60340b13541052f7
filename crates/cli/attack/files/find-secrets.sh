# name: find-secrets
# area: files
# about: Searches the whole root by name and by content for the planted secret, in bash.
# expect: blocked
# canary: ATTACK_HOST_SECRET_PATH
# control: host

[ -n "${ATTACK_HOST_SECRET_PATH:-}" ] || exit 2
name=${ATTACK_HOST_SECRET_PATH##*/}
parent=${ATTACK_HOST_SECRET_PATH%/*}
# The secret's own directory too: finding that the host's path exists is a leak in itself.
if [ -e "$ATTACK_HOST_SECRET_PATH" ]; then
    echo "ESCAPED $ATTACK_HOST_SECRET_PATH exists"
    exit 0
fi
hit=$(timeout 20 find / -xdev -path /proc -prune -o -path "*$parent/$name" -print -quit 2>/dev/null)
if [ -n "$hit" ]; then
    echo "ESCAPED found $hit"
    exit 0
fi
for root in /proc/[0-9]*/root /proc/[0-9]*/cwd; do
    if [ -e "$root$ATTACK_HOST_SECRET_PATH" ]; then
        echo "ESCAPED the secret is below $root"
        exit 0
    fi
done
echo "BLOCKED nothing named $name in any reachable tree"
