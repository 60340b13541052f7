# shellcheck shell=bash
# What each group of commands needs, how to see whether it is there, and the Debian package that brings it.
# Sourced by ./dev. Checks are shell built-ins and cost milliseconds; the slow ones (rustc's version) leave a
# stamp keyed on this file, so that a second call adds nothing that a person would notice.
set -euo pipefail

RUST_MIN=1.95

# group | check | Debian package. A check `cmd:X` looks for a command, `file:GLOB` for a file, `any:GLOB X` for either.
# shellcheck disable=SC2034 # read by name in missing_packages
NEEDS=(
    "build|cmd:gcc|gcc"
    "build|file:/usr/lib/*/libc.a|libc6-dev"
    "run|cmd:bash|bash"
    "run|cmd:python3|python3"
    "run|cmd:node|nodejs"
    "lint|cmd:python3|python3"
    "lint|cmd:git|git"
    "lint|cmd:shellcheck|shellcheck"
    "test|cmd:git|git"
    "test|cmd:curl|curl"
    "test|cmd:newuidmap|uidmap"
    "test|cmd:setpriv|util-linux"
    "test|cmd:unshare|util-linux"
    "test|cmd:busybox|busybox-static"
    "test|cmd:mkfs.ext4|e2fsprogs"
    "test|cmd:musl-gcc|musl-tools"
    "test|cmd:docker-registry|docker-registry"
    "test|cmd:bwrap|bubblewrap"
    "test|cmd:debootstrap|debootstrap"
    "test|cmd:npm|npm"
    "test|any:/usr/lib/postgresql/*/bin/initdb initdb|postgresql"
    "fresh|cmd:debootstrap|debootstrap"
    "fresh|cmd:git|git"
    "v2|cmd:qemu-system-x86_64|qemu-system-x86"
    "v2|cmd:cpio|cpio"
    "v2|cmd:mke2fs|e2fsprogs"
    "v2|cmd:strings|binutils"
    "bench|cmd:bwrap|bubblewrap"
    "bench|cmd:busybox|busybox-static"
)
# Peers that the benchmarks use where they exist: installed if that is possible, never required.
# shellcheck disable=SC2034 # read by name in missing_packages
WANTS=("bench|cmd:runc|runc")

present() {
    local kind=${1%%:*} what=${1#*:}
    case $kind in
        cmd) command -v "$what" >/dev/null || [ -x "/usr/sbin/$what" ] ;;
        file) compgen -G "$what" >/dev/null ;;
        any) compgen -G "${what% *}" >/dev/null || command -v "${what#* }" >/dev/null ;;
    esac
}

# Packages of the given groups whose check fails, from the table named first.
missing_packages() {
    local -n table=$1
    shift
    local row group check package
    for row in "${table[@]}"; do
        IFS='|' read -r group check package <<<"$row"
        [[ " $* " == *" $group "* ]] || continue
        present "$check" || printf '%s\n' "$package"
    done | sort -u
}

# need GROUP...: everything of these groups is present when this returns; otherwise one line and exit 1.
need() {
    local missing wanted
    mapfile -t missing < <(missing_packages NEEDS "$@")
    mapfile -t wanted < <(missing_packages WANTS "$@")
    if [ ${#missing[@]} -gt 0 ]; then
        apt_install "${missing[@]}" || die "install what is missing: apt-get install ${missing[*]}"
    fi
    if [ ${#wanted[@]} -gt 0 ]; then
        apt_install "${wanted[@]}" || say "not here, left out: ${wanted[*]}"
    fi
    case " $* " in *" build "* | *" test "*) need_rust ;; esac
    case " $* " in *" lint "*) need_rust_component rustfmt cargo-fmt && need_rust_component clippy cargo-clippy ;; esac
}

# Fails without a word where installing is not ours to do (not root, or no apt).
apt_install() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then return 1; fi
    say "installing: $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 && return 0
    # Usually the package lists are empty or old: fetch them once and try again, aloud.
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

rust_is_new_enough() {
    local have
    have=$(rustc --version 2>/dev/null | cut -d' ' -f2) || return 1
    [ -n "$have" ] && [ "$(printf '%s\n%s\n' "$RUST_MIN" "$have" | sort -V | head -n1)" = "$RUST_MIN" ]
}

# Debian has rustup from 13 on, Ubuntu from 24.04 on; before that it comes from its makers, into the home of whoever runs
# this.
install_rustup() {
    apt_install rustup 2>/dev/null && return 0
    local script failed=0
    { present cmd:curl && present file:/etc/ssl/certs/ca-certificates.crt; } || apt_install ca-certificates curl || return 1
    say "installing rustup from https://sh.rustup.rs into ${CARGO_HOME:-${HOME:-/}/.cargo}"
    # Whole before any of it is run.
    script=$(curl --proto '=https' --tlsv1.2 -sSf --retry 3 https://sh.rustup.rs) || return 1
    sh -s -- -y -q --no-modify-path --profile minimal --default-toolchain none <<<"$script" || failed=1
    PATH=$PATH:${CARGO_HOME:-${HOME:-/}/.cargo}/bin
    return "$failed"
}

# The stamp holds the rustup toolchain to use; empty means the default one.
need_rust() {
    [ -d "${CARGO_HOME:-${HOME:-/}/.cargo}/bin" ] && PATH=$PATH:${CARGO_HOME:-${HOME:-/}/.cargo}/bin
    local key stamp
    key=$(printf '%s %s %s' "$RUST_MIN" "$(command -v rustc || true)" "${RUSTUP_TOOLCHAIN:-}" | cksum | cut -d' ' -f1)
    stamp=$CACHE/needs-rust-$key
    if [ ! -f "$stamp" ]; then
        local toolchain=''
        if ! rust_is_new_enough; then
            command -v rustup >/dev/null || install_rustup ||
                die "Rust $RUST_MIN or newer is missing: install rustup (https://rustup.rs), then run 'rustup toolchain install stable'"
            say "installing Rust stable through rustup"
            rustup toolchain install stable --profile minimal --component rustfmt --component clippy
            toolchain=stable
            RUSTUP_TOOLCHAIN=stable rust_is_new_enough || die "Rust $RUST_MIN or newer is needed; rustup's stable is older"
        fi
        mkdir -p "$CACHE"
        printf '%s' "$toolchain" >"$stamp"
    fi
    local chosen
    chosen=$(<"$stamp")
    if [ -n "$chosen" ]; then export RUSTUP_TOOLCHAIN=$chosen; fi
}

need_rust_component() {
    local component=$1 program=$2
    command -v "$program" >/dev/null && return 0
    command -v rustup >/dev/null || die "$program is missing: install $component for Rust $RUST_MIN or newer"
    rustup component add "$component"
}
