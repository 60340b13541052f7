# shellcheck shell=bash
# The test suites: which there are, in which order, and how each is run, timed and counted. Sourced by ./dev.
#
# To add one: a line in SUITES (or SOAKS), a function suite_NAME below, a budget in the table of docs/TESTING.md.
# A suite runs in a process of its own, logs to target/dev-test/NAME.log, and says how many cases it had, either
# by cargo's own `test result:` lines or by a line `counts: passed=N failed=N skipped=N`. What could not run here
# prints a line that begins with `SKIPPED`; these lines are repeated at the end.
set -euo pipefail

SUITES=(compile unit unit-user unit-nosub escape correctness crash outlive churn contract packages dev readme install v2)
QUICK=(compile unit)
SOAKS=(compile dependencies soak-fresh soak-unit soak-escape soak-correctness soak-crash soak-outlive soak-churn soak-v2 soak-fuzz)

# Test targets (crates/*/tests/NAME.rs) that are suites of their own and so not part of `unit`.
SUITE_TARGETS=(correctness crash outlive churn load)
# Packages whose tests also run as ordinary users.
PERSONA_PACKAGES=(sandkeep-sandbox sandkeep-image sandkeep-agent sandkeep-runtime sandkeep)
ESCAPE_MINIMUM=60 # hostile programs; fewer means that the suite did not load

# shellcheck disable=SC2153 # TARGET is set by ./dev
LOGS=$TARGET/dev-test
TESTS_LIST=$LOGS/executables # one line per test executable: package, target, kind, path

# --- the suites ---------------------------------------------------------------------------------------------

# Everything the others run: the release binary, and all test executables.
suite_compile() {
    cd "$ROOT"
    cargo build --release -p sandkeep
    cargo test --workspace --no-run --message-format=json-render-diagnostics >"$LOGS/cargo.json"
    python3 tests/lib/executables.py <"$LOGS/cargo.json" >"$TESTS_LIST"
    say "counts: passed=$(wc -l <"$TESTS_LIST") failed=0 skipped=0"
}

suite_unit() {
    can_be root || true # said, not silent: without root the parts that need it skip themselves, each with a line
    export SANDKEEP_BIN=$SANDKEEP
    local package target kind path failed=0
    while IFS=$'\t' read -r package target kind path; do
        if is_suite_target "$target"; then continue; fi
        say "--- $package $target ($kind)"
        (cd "$(package_dir "$path")" && CARGO_MANIFEST_DIR=$PWD "$path" --show-output) || failed=1
    done <"$TESTS_LIST"
    cd "$ROOT"
    cargo test --workspace --doc || failed=1
    return "$failed"
}

suite_unit-user() { unit_as user; }
suite_unit-nosub() { unit_as nosub; }

# The hostile programs of `sandkeep attack`: every persona, every profile, as the code's user and as inside-root.
suite_escape() {
    local persona bin failed=0 passed=0 skipped=0 total blocked
    bin=$(stage "$SANDKEEP")
    for persona in root user nosub; do
        if ! can_be "$persona"; then skipped=$((skipped + 1)); continue; fi
        for form in strict:user dev:user dev:root; do
            local json=$LOGS/escape-$persona-${form/:/-}.json
            as_persona "$persona" "$bin/sandkeep" attack --profile "${form%:*}" --user "${form#*:}" --json >"$json" || failed=$((failed + 1))
            read -r blocked total < <(python3 -c 'import json, sys; r = json.load(sys.stdin); print(r["blocked"], r["total"])' <"$json" || echo 0 0)
            say "persona $persona, profile ${form%:*}, as ${form#*:}: blocked $blocked of $total"
            passed=$((passed + blocked))
            failed=$((failed + total - blocked))
            if [ "$total" -lt "$ESCAPE_MINIMUM" ]; then say "FAILED: fewer than $ESCAPE_MINIMUM programs ran"; failed=$((failed + 1)); fi
        done
    done
    rm -rf -- "$bin"
    say "counts: passed=$passed failed=$failed skipped=$skipped"
    [ "$failed" = 0 ]
}

# Images belong to whoever unpacked them, so what is in them is also tried with a single id.
suite_correctness() {
    local failed=0
    target_as_personas correctness root user || failed=1
    TEST_FILTER=images:: target_as_personas correctness nosub || failed=1
    return "$failed"
}
suite_crash() { target_as_personas crash root user; }
# A server that is killed, on SQLite and PostgreSQL.
suite_outlive() { target_as_personas outlive root user; }

# A server over a long time, and hundreds of readers at once.
suite_churn() {
    local failed=0
    target_as_personas load root || failed=1
    target_as_personas churn root || failed=1
    TEST_FILTER=sqlite target_as_personas churn user || failed=1
    return "$failed"
}

# The running server against its OpenAPI document.
suite_contract() { "$ROOT/tests/contract/run" "$SANDKEEP"; }

# apt, dpkg, pip and npm in profile `dev`, for every persona; what is installed is made on the spot.
suite_packages() {
    if ! can_be root; then say "counts: passed=0 failed=0 skipped=1"; return 0; fi
    "$ROOT/tests/packages/run" "$SANDKEEP"
}

# `./dev up` twice and `./dev down`, on a data directory of its own.
suite_dev() {
    local data passed=0 failed=0 pid
    data=$(mktemp -d "${TMPDIR:-/tmp}/sandkeep-dev.XXXXXX")
    export DEV_DATA_DIR=$data/data
    # shellcheck disable=SC2064 # the directory is wanted as it is now
    trap "'$ROOT/dev' down; rm -rf --one-file-system -- '$data'" EXIT
    "$ROOT/dev" up | tee "$data/first"
    pid=$(cut -d' ' -f1 "$DEV_DATA_DIR/server.pid")
    "$ROOT/dev" up | tee "$data/second"
    dev_case "both ran the program" [ "$(cat "$data/first" "$data/second" | grep -c '^42$')" = 2 ]
    dev_case "the second found the server" grep -qx "the server runs already" "$data/second"
    dev_case "it is the same one" [ "$(cut -d' ' -f1 "$DEV_DATA_DIR/server.pid")" = "$pid" ]
    "$ROOT/dev" down
    dev_case "it is stopped" [ ! -e "/proc/$pid" ]
    dev_case "a second stop is none" [ "$("$ROOT/dev" down)" = "no server of ./dev up runs" ]
    say "counts: passed=$passed failed=$failed skipped=0"
    [ "$failed" = 0 ]
}

# dev_case WHAT CONDITION...: counts in passed and failed of the suite.
dev_case() {
    local what=$1
    shift
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); say "FAILED: not true: $what"; fi
}

# README.md word for word: on this host (with the guides), then in a minimal Debian of its own.
suite_readme() {
    local failed=0
    local -a guides=("$ROOT"/docs/guides/{images,server,client}.md)
    python3 "$ROOT/tests/readme/replay" --sandkeep "$SANDKEEP" "$ROOT/README.md" "${guides[@]}" || failed=1
    if can_be root; then "$ROOT/tests/readme/in-chroot" "$SANDKEEP" "$ROOT/README.md" || failed=1; fi
    return "$failed"
}

# A release, installed by script and by package in a minimal Debian.
suite_install() {
    if ! can_be root; then say "counts: passed=0 failed=0 skipped=1"; return 0; fi
    "$ROOT/tests/install/run" "$SANDKEEP"
}

# On a version 2 host: a stock Debian, its kernel and its systemd, under QEMU.
suite_v2() {
    if ! can_be root; then say "counts: passed=0 failed=0 skipped=1"; return 0; fi
    (need v2) && "$ROOT/tests/v2/run" "$SANDKEEP" "$TESTS_LIST"
}

# --- longer forms -------------------------------------------------------------------------------------------
# SANDKEEP_SOAK=1 makes tests use their long form (more sandboxes, more rounds, PROPTEST_CASES for properties).

suite_soak-unit() { SANDKEEP_SOAK=1 PROPTEST_CASES=20000 suite_unit; }
suite_soak-correctness() { SANDKEEP_SOAK=1 suite_correctness; }
suite_soak-crash() { SANDKEEP_SOAK=1 suite_crash; }
suite_soak-outlive() { SANDKEEP_SOAK=1 suite_outlive; }
suite_soak-churn() {
    local failed=0
    SANDKEEP_SOAK=1 target_as_personas load root || failed=1
    SANDKEEP_SOAK=1 target_as_personas churn root || failed=1
    return "$failed"
}
suite_soak-v2() { SANDKEEP_SOAK=1 suite_v2; }

suite_soak-escape() {
    local round
    for round in 1 2 3 4 5; do
        say "round $round"
        suite_escape || return 1
    done
}

suite_soak-fuzz() {
    if [ ! -x "$ROOT/fuzz/run" ]; then say "SKIPPED fuzz: fuzz/run does not exist"; return 0; fi
    "$ROOT/fuzz/run"
}

# `./dev up` where nothing of what it needs is there.
suite_soak-fresh() {
    if ! can_be root; then say "counts: passed=0 failed=0 skipped=1"; return 0; fi
    (need fresh) && "$ROOT/tests/fresh/run" "$ROOT"
}

# The full cargo-deny: building it takes minutes, so it is not part of `lint`, which checks the same lists offline.
suite_dependencies() {
    cd "$ROOT"
    command -v cargo-deny >/dev/null || cargo install cargo-deny --locked --root "$CACHE/tools"
    PATH=$PATH:$CACHE/tools/bin cargo deny --offline check bans licenses sources
}

# --- how they are run ---------------------------------------------------------------------------------------

is_suite_target() { [[ " ${SUITE_TARGETS[*]} " == *" $1 "* ]]; }

# The directory cargo would run a test in: the package's. Written by executables.py beside each path.
package_dir() { cat "$1.package-dir"; }

unit_as() {
    local persona=$1 package target kind path dir failed=0
    if ! can_be "$persona"; then say "counts: passed=0 failed=0 skipped=1"; return 0; fi
    dir=$(stage "$SANDKEEP")
    export SANDKEEP_BIN=$dir/sandkeep
    while IFS=$'\t' read -r package target kind path; do
        if is_suite_target "$target" || [[ " ${PERSONA_PACKAGES[*]} " != *" $package "* ]]; then continue; fi
        say "--- $package $target ($kind) as $persona"
        install -m 755 "$path" "$dir/test"
        as_persona "$persona" "$dir/test" --show-output </dev/null || failed=1
    done <"$TESTS_LIST"
    rm -rf -- "$dir"
    return "$failed"
}

# target_as_personas TARGET PERSONA...: one test target of the suite's name, as each of these; of it those tests whose
# names have TEST_FILTER in them.
target_as_personas() {
    local wanted=$1 persona dir path failed=0
    shift
    path=$(awk -F'\t' -v t="$wanted" '$2 == t { print $4; exit }' "$TESTS_LIST")
    if [ -z "$path" ]; then say "FAILED: there is no test target named '$wanted'"; return 1; fi
    dir=$(stage "$SANDKEEP" "$path")
    export SANDKEEP_BIN=$dir/sandkeep
    for persona in "$@"; do
        if ! can_be "$persona"; then continue; fi
        say "--- $wanted as $persona"
        as_persona "$persona" "$dir/$(basename "$path")" ${TEST_FILTER:+"$TEST_FILTER"} --show-output </dev/null || failed=1
    done
    rm -rf -- "$dir"
    return "$failed"
}

cmd_test() {
    local chosen=() quick=0 argument
    VERBOSE=${CI:+1}
    for argument in "$@"; do
        case $argument in
            --quick) quick=1 ;;
            --verbose) VERBOSE=1 ;;
            *)
                [[ " ${SUITES[*]} ${SOAKS[*]} " == *" $argument "* ]] ||
                    { printf "./dev: no suite '%s'; there are: %s\n" "$argument" "${SUITES[*]}" >&2; exit 2; }
                chosen+=("$argument") ;;
        esac
    done
    if [ ${#chosen[@]} -gt 0 ]; then
        # Never yesterday's executables: with nothing to do, compiling takes a second or two.
        [[ " ${chosen[*]} " == *" compile "* ]] || chosen=(compile "${chosen[@]}")
    elif [ "$quick" = 1 ]; then
        chosen=("${QUICK[@]}")
    else
        chosen=("${SUITES[@]}")
    fi
    run_suites test "${chosen[@]}"
}

cmd_soak() {
    [ $# -eq 0 ] || { printf "./dev: 'soak' takes no argument '%s'; try ./dev --help\n" "$1" >&2; exit 2; }
    VERBOSE=${CI:+1}
    run_suites soak "${SOAKS[@]}"
}

# Budget in seconds from the table in docs/TESTING.md, the one place where it stands.
budget_of() {
    local seconds
    seconds=$(awk -F'|' -v s="\`$1\`" '{ gsub(/ /, "", $2); gsub(/ /, "", $3) } $2 == s { print $3; exit }' "$ROOT/docs/TESTING.md")
    [[ $seconds =~ ^[0-9]+$ ]] || die "docs/TESTING.md has no budget for suite '$1'"
    printf '%s' "$seconds"
}

run_suites() {
    local what=$1 name table='' passed=0 failed=0 skipped=0 bad=0 over=0
    shift
    need build run test
    if [ "$(id -u)" = 0 ]; then ensure_test_users; fi
    mkdir -p "$LOGS"
    for name in "$@"; do
        local budget seconds verdict started=$SECONDS p f s
        budget=$(budget_of "$name")
        printf '== %-18s budget %4ds  ' "$name" "$budget"
        verdict=ok
        run_one "$name" "$budget" || verdict=FAILED
        seconds=$((SECONDS - started))
        read -r p f s < <(count_cases "$LOGS/$name.log")
        if [ "$f" -gt 0 ]; then verdict=FAILED; fi
        if [ "$verdict" = FAILED ]; then
            bad=$((bad + 1))
            [ "$f" -gt 0 ] || f=1 # it ended badly without naming a case
        elif [ "$seconds" -gt "$budget" ]; then
            verdict='over budget'
            over=$((over + 1))
        fi
        passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
        printf '%4ds  %s\n' "$seconds" "$verdict"
        if [ "$verdict" = FAILED ] && [ -z "$VERBOSE" ]; then tail -n 80 "$LOGS/$name.log"; fi
        table+=$(printf '%-18s %7s %7s %7s %7s %7s  %s' "$name" "${budget}s" "${seconds}s" "$p" "$f" "$s" "$verdict")$'\n'
        if [ "$name" = compile ] && [ "$verdict" = FAILED ]; then break; fi # nothing to run
    done
    printf '\n%-18s %7s %7s %7s %7s %7s  %s\n%s' suite budget actual passed failed skipped verdict "$table"
    repeat_skips "$@"
    repeat_failures "$@"
    printf '\n%s: %d suites run, %d over budget, %d failed; %d cases passed, %d failed, %d skipped\n' "$what" "$(wc -l <<<"${table%$'\n'}")" "$over" "$bad" "$passed" "$failed" "$skipped"
    [ "$bad" = 0 ]
}

# One suite in a process group of its own with a deadline of three budgets: a hang is a failure, not a wait.
# A shell gives its background jobs an ignored SIGINT, which tests of Ctrl-C would inherit: `env` puts it back.
run_one() {
    local name=$1 deadline=$(($2 * 3)) log=$LOGS/$1.log status=0 pid
    : >"$log"
    if [ -n "$VERBOSE" ]; then
        printf '\n'
        env --default-signal=INT,QUIT timeout --kill-after=20 "$deadline" "$ROOT/dev" __suite "$name" > >(tee "$log") 2>&1 &
    else
        env --default-signal=INT,QUIT timeout --kill-after=20 "$deadline" "$ROOT/dev" __suite "$name" >"$log" 2>&1 &
    fi
    pid=$!
    # shellcheck disable=SC2064 # the pid is wanted as it is now
    trap "kill -TERM $pid 2>/dev/null; exit 130" INT TERM
    wait "$pid" || status=$?
    trap - INT TERM
    if [ "$status" = 124 ]; then printf 'FAILED: not finished after %ss, three times its budget\n' "$deadline" | tee -a "$log"; fi
    return "$status"
}

# passed failed skipped, from cargo's result lines, from `counts:` lines, and from tests that skipped themselves.
count_cases() {
    awk '
        /^test result:/ { for (i = 1; i < NF; i++) { n = $i + 0
            if ($(i + 1) ~ /^passed/) p += n
            if ($(i + 1) ~ /^failed/) f += n
            if ($(i + 1) ~ /^ignored/) s += n } }
        /^counts: / { for (i = 2; i <= NF; i++) { split($i, pair, "=")
            if (pair[1] == "passed") p += pair[2]
            if (pair[1] == "failed") f += pair[2]
            if (pair[1] == "skipped") s += pair[2] } }
        /^---- .* stdout ----$/ { inside = 1 } # a test that skipped itself is an `ok` to cargo
        /^test result:/ { inside = 0 }
        inside && /^SKIPPED/ { s++; p--; inside = 0 }
        END { print p + 0, f + 0, s + 0 }' "$1"
}

repeat_skips() {
    local name lines
    for name in "$@"; do
        [ -f "$LOGS/$name.log" ] || continue
        lines=$(grep -h '^SKIPPED' "$LOGS/$name.log" | cut -c1-200 | sort | uniq -c || true)
        [ -z "$lines" ] || printf '\nnot run here (%s):\n%s\n' "$name" "$lines"
    done
}

# What failed and why, at the end, where whoever reads the last lines of a long log finds it: of each suite the part between
# cargo's two headings, and what suites say in lines of their own.
repeat_failures() {
    local name lines
    for name in "$@"; do
        [ -f "$LOGS/$name.log" ] || continue
        lines=$(awk '
            /^failures:$/ { inside = !inside; next }
            /^test result:/ { inside = 0 }
            inside || /^FAILED/' "$LOGS/$name.log" | cut -c1-400)
        # The panic stands at the end of what a test prints.
        [ -z "$lines" ] || printf '\nfailed (%s), its last lines:\n%s\n' "$name" "$(tail -n 60 <<<"$lines")"
    done
}
