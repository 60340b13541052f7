# name: dev-tcp
# area: network
# about: Reaches the host's loopback port and the metadata address with nothing but bash.
# expect: blocked
# canary: ATTACK_HOST_PORT
# control: host

[ -n "${ATTACK_HOST_PORT:-}" ] || exit 2
tried=0
for target in "127.0.0.1/$ATTACK_HOST_PORT" "localhost/$ATTACK_HOST_PORT" "::1/$ATTACK_HOST_PORT" \
    169.254.169.254/80; do
    tried=$((tried + 1))
    if timeout 2 bash -c "exec 9<>/dev/tcp/$target" 2>/dev/null; then
        echo "ESCAPED connected to $target"
        exit 0
    fi
done
echo "BLOCKED $tried targets by /dev/tcp"
