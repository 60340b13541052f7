# shellcheck shell=bash
# The server of `./dev up`: on loopback, with a data directory of its own, found again by pid and start time. Sourced by ./dev.
#
# DEV_DATA has: server/ (its data directory), server.log, and server.pid: one line `PID START_TIME BINARY URL`.
set -euo pipefail

# shellcheck disable=SC2153 # TARGET is set by ./dev
# Not a name with SANDKEEP_: the server would take it for a setting, and refuse it.
DEV_DATA=${DEV_DATA_DIR:-$TARGET/dev-data}
DEV_PORT=8000
DEV_PATIENCE_S=60

# When a process started, in ticks since boot; with the pid it names one process for good.
start_time_of() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# Which file the binary is: a newer one wants a newer server.
binary_is() { stat -Lc '%d:%i:%Y' "$SANDKEEP"; }

# Sets dev_pid, dev_binary and dev_url of the server that runs; fails when none does.
dev_server() {
    local started
    dev_pid='' dev_binary='' dev_url=''
    [ -f "$DEV_DATA/server.pid" ] || return 1
    read -r dev_pid started dev_binary dev_url <"$DEV_DATA/server.pid" || return 1
    [ -n "$started" ] && [ "$(start_time_of "$dev_pid")" = "$started" ]
}

# Whether the server says that it can work.
dev_is_ready() {
    local port=${dev_url##*:} status=''
    (
        exec 3<>"/dev/tcp/127.0.0.1/$port"
        printf 'GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
        read -r _ status _ <&3
        [ "$status" = 200 ]
    ) 2>/dev/null
}

# dev_wait WHAT CONDITION...: until it holds; not while the server is gone.
dev_wait() {
    local what=$1 until=$((SECONDS + DEV_PATIENCE_S))
    shift
    until "$@"; do
        if [ -z "$(start_time_of "$dev_pid")" ] || [ "$SECONDS" -ge "$until" ]; then
            tail -n 20 "$DEV_DATA/server.log" >&2
            die "the server $what; its log is $DEV_DATA/server.log"
        fi
        sleep 0.1
    done
}

dev_has_url() {
    dev_url=$(sed -n 's/^sandkeep: serving at \([^,]*\),.*/\1/p' "$DEV_DATA/server.log")
    [ -n "$dev_url" ]
}

dev_start() {
    local port=$DEV_PORT
    # Somebody else's: any other will do.
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then port=0; fi
    # Not the lock of this script, and not its terminal: it stays when they go. Its sandboxes go with it.
    SANDKEEP_END_SANDBOXES=true setsid "$SANDKEEP" serve --data-dir "$DEV_DATA/server" --listen "127.0.0.1:$port" \
        </dev/null >"$DEV_DATA/server.log" 2>&1 9>&- &
    dev_pid=$!
    local started
    started=$(start_time_of "$dev_pid")
    # Written before it is ready, so that a `./dev down` after a Ctrl-C here finds it.
    printf '%s %s %s -\n' "$dev_pid" "$started" "$(binary_is)" >"$DEV_DATA/server.pid"
    dev_wait "does not start" dev_has_url
    printf '%s %s %s %s\n' "$dev_pid" "$started" "$(binary_is)" "$dev_url" >"$DEV_DATA/server.pid"
    dev_wait "is not ready" dev_is_ready
}

dev_is_gone() { ! dev_server; }

dev_stop() {
    kill -TERM "$dev_pid" 2>/dev/null || true
    local until=$((SECONDS + DEV_PATIENCE_S))
    until dev_is_gone; do
        [ "$SECONDS" -lt "$until" ] || die "the server (pid $dev_pid) does not end; its log is $DEV_DATA/server.log"
        sleep 0.1
    done
    rm -f "$DEV_DATA/server.pid"
}

dev_lock() {
    mkdir -p "$(dirname "$DEV_DATA")"
    [ -d "$DEV_DATA" ] || mkdir -m 700 "$DEV_DATA"
    exec 9>"$DEV_DATA/lock"
    flock 9
}

# A real program, through the server: prints what it printed.
dev_program() {
    local -a server=(--url "$dev_url" --data-dir "$DEV_DATA/server")
    local name=hello-$$ answer status=0
    "$SANDKEEP" sandbox create --name "$name" "${server[@]}" >/dev/null || return
    answer=$("$SANDKEEP" exec "$name" "${server[@]}" -- python3 -c 'print(6*7)') || status=$?
    "$SANDKEEP" sandbox rm "$name" "${server[@]}" >/dev/null || status=$?
    printf '%s\n' "$answer"
    return "$status"
}

cmd_up() {
    need build run
    build_release
    dev_lock
    if dev_server && [ "$dev_binary" != "$(binary_is)" ]; then
        say "the server is older than what was built: it is started again"
        dev_stop
    fi
    if dev_server && [ "$dev_url" != - ] && dev_is_ready; then
        say "the server runs already"
    else
        step "sandkeep doctor"
        # A host that cannot enforce everything is a finding to read, not a reason to stop here.
        "$SANDKEEP" doctor || say "(doctor ended with status $?)"
        if dev_server; then dev_stop; fi
        step "sandkeep serve"
        dev_start
    fi
    step "sandkeep exec hello -- python3 -c 'print(6*7)'"
    local answer
    answer=$(dev_program) || die "the program did not run; see the message above"
    say "$answer"
    [ "$answer" = 42 ] || die "expected 42"
    say
    say "A sandbox of the server ran Python and answered 42. It goes on:"
    say "  address  $dev_url"
    say "  docs     $dev_url/docs"
    say "  key      $DEV_DATA/server/admin.key"
    say "  use it   eval \"\$($SANDKEEP env --url $dev_url --data-dir $DEV_DATA/server)\""
    say "  stop it  ./dev down"
}

cmd_down() {
    dev_lock
    if ! dev_server; then
        rm -f "$DEV_DATA/server.pid"
        say "no server of ./dev up runs"
        return 0
    fi
    dev_stop
    say "the server is stopped; its data stay in $DEV_DATA"
}
