# shellcheck shell=bash
# The three people the tests run as. Sourced by ./dev.
#
#   root    the account that runs ./dev, where that is root
#   user    an ordinary user with a subordinate id range in /etc/subuid and /etc/subgid (newuidmap works)
#   nosub   an ordinary user without one (a sandbox then has a single id)
#
# Without root nothing can be switched: `user` is then whoever runs ./dev, and `nosub` is reported as skipped.
set -euo pipefail

TEST_USER=sandkeep-test
TEST_USER_NOSUB=sandkeep-test-nosub
SUBID_COUNT=65536

# Makes both users and their ranges; repeating it changes nothing.
ensure_test_users() {
    local name
    for name in "$TEST_USER" "$TEST_USER_NOSUB"; do
        id -u "$name" >/dev/null 2>&1 ||
            useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$name"
    done
    ensure_subids /etc/subuid
    ensure_subids /etc/subgid
}

# One range for TEST_USER behind all others, none for TEST_USER_NOSUB (useradd may have given it one).
ensure_subids() {
    local file=$1 start
    touch "$file"
    if grep -q "^$TEST_USER_NOSUB:" "$file"; then sed -i "/^$TEST_USER_NOSUB:/d" "$file"; fi
    if grep -q "^$TEST_USER:" "$file"; then return 0; fi
    start=$(awk -F: 'BEGIN { end = 100000 } $2 + $3 > end { end = $2 + $3 } END { print end }' "$file")
    printf '%s:%s:%s\n' "$TEST_USER" "$start" "$SUBID_COUNT" >>"$file"
}

persona_account() {
    case $1 in
        root) echo root ;;
        user) echo "$TEST_USER" ;;
        nosub) echo "$TEST_USER_NOSUB" ;;
    esac
}

# can_be PERSONA: prints why not and fails when this process cannot act as that persona.
can_be() {
    case $1:$(id -u) in
        *:0 | user:*) return 0 ;;
        root:*) echo "SKIPPED persona root: not run as root" && return 1 ;;
        *) echo "SKIPPED persona $1: switching users needs root" && return 1 ;;
    esac
}

# stage PATH...: copies files into a fresh directory that every user can read, prints its name. The build
# directory may lie under a home that others cannot enter.
stage() {
    local dir
    dir=$(mktemp -d "${TMPDIR:-/tmp}/sandkeep-stage.XXXXXX")
    chmod 755 "$dir"
    [ $# -eq 0 ] || install -m 755 -t "$dir" "$@"
    printf '%s\n' "$dir"
}

# as_user ACCOUNT COMMAND...: runs COMMAND as ACCOUNT with an environment from zero, a private home and a
# private XDG_RUNTIME_DIR. Variables named SANDKEEP_* and PROPTEST_* pass through. Both directories are removed afterwards.
as_user() (
    local account=$1 home status=0 passed
    shift
    home=$(mktemp -d "${TMPDIR:-/tmp}/sandkeep-home.XXXXXX")
    # shellcheck disable=SC2064 # the name is wanted as it is now
    trap "rm -rf -- '$home'" EXIT
    install -d -m 700 "$home/run"
    chown -R "$account:" "$home"
    chmod 700 "$home"
    mapfile -t passed < <(env | grep -E '^(SANDKEEP|PROPTEST)_[A-Z0-9_]*=' || true)
    cd "$home"
    setpriv --reuid "$account" --regid "$account" --init-groups --inh-caps=-all \
        env -i "${passed[@]}" PATH="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" HOME="$home" USER="$account" LOGNAME="$account" \
        XDG_RUNTIME_DIR="$home/run" TERM="${TERM:-dumb}" LANG=C.UTF-8 RUST_BACKTRACE=1 "$@" || status=$?
    exit "$status"
)

# as_persona PERSONA COMMAND...: the same for a persona; as oneself where nothing has to be switched.
as_persona() {
    local persona=$1
    shift
    export SANDKEEP_TEST_PERSONA=$persona
    if [ "$(id -u)" = 0 ] && [ "$persona" != root ]; then
        as_user "$(persona_account "$persona")" "$@"
    else
        "$@"
    fi
}
