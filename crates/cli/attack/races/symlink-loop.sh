# name: symlink-loop
# area: races
# about: Replaces a directory of the workspace by links to /etc and / again and again, in bash, until it is stopped.
# expect: contained
# canary: ATTACK_HOST_SECRET_PATH
# limits: timeout=20s

[ -n "${ATTACK_HOST_SECRET_PATH:-}" ] || exit 2
mkdir -p real/sub && echo honest >real/sub/shadow && echo honest >real/passwd
swap() {
    SECONDS=0
    while [ "$SECONDS" -lt "$1" ]; do
        ln -sfn /etc target 2>/dev/null
        ln -sfn real target 2>/dev/null
        ln -sfn "${ATTACK_HOST_SECRET_PATH%/*}" target 2>/dev/null
        ln -sfn ../../../../../.. target 2>/dev/null
    done
}
(swap 10 </dev/null >/dev/null 2>&1 &)
swap 1
if [ -e "target/${ATTACK_HOST_SECRET_PATH##*/}" ]; then
    echo "ESCAPED the secret is reachable through a link"
else
    echo "BLOCKED kept swapping a directory and links"
fi
