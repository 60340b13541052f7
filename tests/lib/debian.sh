# shellcheck shell=bash
# Minimal Debian systems for tests: made once by debootstrap, kept outside the checkout, keyed by what is in them, and
# never changed afterwards. Sourced by the scripts that need one. Needs root.
#
# They are of one release; a host whose C library is newer than its needs another one, named by SANDKEEP_DEBIAN.
set -euo pipefail

DEBIAN=${SANDKEEP_DEBIAN:-bookworm}
DEBIANS=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/sandkeep

# debian_key PACKAGES: names a system with these packages (a list with commas) and nothing else.
debian_key() { printf '%s-%s' "$DEBIAN" "$(printf '%s' "$DEBIAN $1 $(uname -m)" | cksum | cut -d' ' -f1)"; }

# debian_make DIR PACKAGES: makes one.
debian_make() {
    debootstrap --variant=minbase ${2:+"--include=$2"} "$DEBIAN" "$1" >"$1.log" 2>&1 || {
        tail -n 20 "$1.log" >&2
        echo "FAILED: debootstrap; see $1.log" >&2
        return 1
    }
    rm -rf -- "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/* "$1"/usr/share/doc "$1.log"
}

# debian_base PACKAGES: prints the directory of such a system, made when it is not there yet.
debian_base() {
    local base part
    base=$DEBIANS/debian-$(debian_key "$1")
    part=$base.part.$$
    if [ ! -d "$base" ]; then
        echo "making $base (once, about two minutes)" >&2
        mkdir -p "$DEBIANS"
        # shellcheck disable=SC2064 # the name is wanted as it is now
        trap "rm -rf --one-file-system -- '$part'" EXIT
        debian_make "$part" "$1"
        # Somebody else may have made it meanwhile.
        mv -T -- "$part" "$base" 2>/dev/null || [ -d "$base" ]
        rm -rf --one-file-system -- "$part"
        trap - EXIT
    fi
    printf '%s\n' "$base"
}

# debian_mount BASE: makes the current directory the root of such a system. To be called in a mount namespace of one's
# own, with which all of it vanishes. The base stays as it was made: a tmpfs above it takes all writes.
debian_mount() {
    local root=$DEBIANS/debian-root # the same for all: each caller mounts in its own namespace
    mkdir -p "$root"
    mount -t tmpfs -o mode=755 tmpfs "$root"
    mkdir "$root/upper" "$root/work" "$root/root"
    mount -t overlay -o "lowerdir=$1,upperdir=$root/upper,workdir=$root/work" overlay "$root/root"
    cd "$root/root"
    mount -t proc proc proc
    mount --rbind /sys sys
    mount --rbind /dev dev
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs -o mode=1777 tmpfs tmp
}

# debian_enter: the current directory becomes the root. With pivot_root and not with chroot: the kernel refuses new user
# namespaces to a process whose root is not the root of its mount namespace (EPERM, user_namespaces(7)).
debian_enter() {
    mkdir -p old
    pivot_root . old
    cd /
    umount -l /old
    rmdir /old
}
