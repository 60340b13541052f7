# name: fork-bomb-bash
# area: resources
# about: The fork bomb of bash, each call starting two more, bounded to 12 generations.
# expect: contained
# limits: pids=64 timeout=60s

bomb() {
    [ "$1" -gt 0 ] || { sleep 5; return; }
    bomb $(($1 - 1)) | bomb $(($1 - 1)) &
}
bomb 12 2>/dev/null
sleep 1 2>/dev/null
# No command may be started any more, so the count is made by bash alone.
processes=(/proc/[0-9]*)
unset 'processes[0]' # Process 1 is the sandbox's own.
if [ "${#processes[@]}" -gt "${ATTACK_LIMIT_PROCESSES:-256}" ]; then
    echo "ESCAPED ${#processes[@]} processes at once"
else
    echo "BLOCKED ${#processes[@]} processes at once"
fi
