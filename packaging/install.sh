#!/bin/sh
# Installs sandkeep below a prefix, without root, and removes it again.
#
#   curl -fsSL URL/install.sh | SANDKEEP_URL=URL sh
#   wget -qO- URL/install.sh | SANDKEEP_URL=URL sh
#   ... | SANDKEEP_URL=URL sh -s -- --version 0.1.0 --prefix DIR
#   sh install.sh --uninstall
#
# URL is where the release lies: what `cargo xtask release` made, on a web server. Nothing is put anywhere before the
# archive was compared with its checksum, and all of this is one function, so that a download that breaks off does nothing.
set -eu

usage() {
    cat <<'TEXT'
usage: install.sh [--url URL] [--version VERSION] [--prefix DIR]
       install.sh --uninstall [--prefix DIR]

  --url URL          where the release lies [SANDKEEP_URL]; https, or http on this machine
  --version VERSION  which one [SANDKEEP_VERSION; default: the newest there]
  --prefix DIR       below which it is put [SANDKEEP_PREFIX; default: /usr/local as root, else ~/.local]
  --uninstall        remove what this script has put there; sandboxes' and servers' data stay
TEXT
}

say() { printf '%s\n' "$*"; }
die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# download URL FILE
download() {
    if has curl; then
        curl -fsSL --proto '=https,http' -o "$2" "$1" || die "$1 cannot be downloaded"
    elif has wget; then
        wget -q -O "$2" "$1" || die "$1 cannot be downloaded"
    else
        die "neither curl nor wget is here: install one of them"
    fi
}

# The digest of FILE, whichever tool has it.
sha256() {
    if has sha256sum; then
        sha256sum "$1" | cut -d' ' -f1
    elif has shasum; then
        shasum -a 256 "$1" | cut -d' ' -f1
    else
        die "neither sha256sum nor shasum is here, so nothing can be verified: install coreutils"
    fi
}

# at_least HAVE WANT: versions of numbers with dots.
at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -t. -k1,1n -k2,2n -k3,3n | head -n 1)" = "$2" ]
}

check_url() {
    [ -n "$url" ] || die "where is the release? There is no public place yet: give --url URL or SANDKEEP_URL, of what \`cargo xtask release\` made"
    case $url in
        https://*) ;;
        # A checksum from the same place shows damage, not malice; what comes over the net has to be protected on its way.
        http://127.0.0.1[:/]* | http://localhost[:/]*) ;;
        *) die "'$url' is neither https:// nor on this machine (http://127.0.0.1)" ;;
    esac
    url=${url%/}
}

# What the machine must be before anything is downloaded.
check_machine() {
    system=$(uname -s)
    [ "$system" = Linux ] || die "sandboxes need Linux, and this is $system; the client is built from source: cargo build -p sandkeep --no-default-features"
    machine=$(uname -m)
    case $machine in
        x86_64 | aarch64) ;;
        *) die "there is no sandkeep for $machine, only for x86_64 and aarch64" ;;
    esac
    kernel=$(uname -r | sed 's/[^0-9.].*//')
    at_least "$kernel" 5.11 || say "note: this kernel is $kernel; sandboxes need 5.11 or newer, so only commands that talk to a server will work"
}

# check_libc NEEDED
check_libc() {
    have=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2) || have=
    [ -n "$have" ] || die "sandkeep needs glibc $1 or newer, and this system has another C library"
    at_least "$have" "$1" || die "sandkeep needs glibc $1 or newer, and this system has $have: build it from source (CONTRIBUTING.md)"
}

# verified NAME: downloads a file of the release into $work, and compares it.
verified() {
    wanted=$(awk -v name="$1" '$2 == name { print $1 }' "$work/SHA256SUMS")
    [ -n "$wanted" ] || die "the release $version at $url has no $1"
    download "$url/$version/$1" "$work/$1"
    found=$(sha256 "$work/$1")
    [ "$found" = "$wanted" ] || die "$1 is damaged: its SHA-256 is $found and should be $wanted. Nothing was installed"
}

# make_above FILE: the directories of a file below the prefix; those that are new are written down, outermost first.
make_above() {
    [ -d "${1%/*}" ] && return 0
    make_above "${1%/*}"
    # Not in a variable: there are no local ones.
    mkdir "${1%/*}"
    above=${1%/*}
    printf '%s/\n' "${above#"$prefix"}" >>"$work/directories"
}

# put FROM TO: all of it or nothing, also over a program that runs.
put() {
    make_above "$2"
    cp "$1" "$2.new.$$"
    mv -f "$2.new.$$" "$2"
}

install() {
    check_url
    check_machine
    if [ -z "$version" ]; then
        download "$url/LATEST" "$work/LATEST"
        version=$(cat "$work/LATEST")
    fi
    case $version in '' | *[!0-9A-Za-z.+-]*) die "'$version' is not a version" ;; esac
    name=sandkeep-$version-$machine-linux
    download "$url/$version/SHA256SUMS" "$work/SHA256SUMS"
    verified "$name.requires"
    check_libc "$(awk '$1 == "glibc" { print $2 }' "$work/$name.requires")"
    verified "$name.tar.gz"
    tar -xzf "$work/$name.tar.gz" -C "$work"
    "$work/$name/bin/sandkeep" version >/dev/null || die "this sandkeep does not run here. Nothing was installed"
    place "$work/$name"
    report
}

# place TREE: puts everything below the prefix, the program last, and removes what an earlier version had besides.
place() {
    (cd "$1" && find . -type f | cut -c2- | sort) >"$work/files"
    : >"$work/directories"
    : >"$work/before"
    [ ! -f "$list" ] || cp "$list" "$work/before"
    make_above "$list"
    # From here on, whatever stops this, --uninstall finds all that may be there.
    cat "$work/before" "$work/files" >"$work/all"
    put "$work/all" "$list"
    grep -v '^/bin/' "$work/files" | while IFS= read -r file; do put "$1$file" "$prefix$file"; done
    put "$1/bin/sandkeep" "$bin/sandkeep"
    grep -v '/$' "$work/before" | grep -vxF -f "$work/files" | while IFS= read -r file; do rm -f "$prefix$file"; done
    { grep '/$' "$work/before" || true; cat "$work/directories" "$work/files"; } >"$work/all"
    put "$work/all" "$list"
}

report() {
    say "$("$bin/sandkeep" version) is installed: $bin/sandkeep"
    say "completions for bash, zsh and fish, and manual pages, are below $prefix/share"
    case :$PATH: in
        *":$bin:"*) ;;
        *) say "$bin is not on your PATH; in a new shell: PATH=$bin:\$PATH" ;;
    esac
    say "next: sandkeep doctor"
}

uninstall() {
    [ -f "$list" ] || die "nothing of this script is below $prefix ($list is not there)"
    cp "$list" "$work/before"
    grep -v '/$' "$work/before" | while IFS= read -r file; do rm -f "$prefix$file"; done
    rm -f "$list"
    # Innermost first, and only those that were made here and are empty now.
    { grep '/$' "$work/before" || true; } | sort -ru | while IFS= read -r made; do rmdir "$prefix$made" 2>/dev/null || true; done
    say "sandkeep is removed from $prefix; data of servers and images were left alone"
}

main() {
    url=${SANDKEEP_URL:-}
    version=${SANDKEEP_VERSION:-}
    prefix=${SANDKEEP_PREFIX:-}
    action=install
    while [ $# -gt 0 ]; do
        case $1 in
            --url | --version | --prefix)
                [ $# -ge 2 ] || die "$1 lacks its value"
                case $1 in --url) url=$2 ;; --version) version=$2 ;; --prefix) prefix=$2 ;; esac
                shift ;;
            --uninstall) action=uninstall ;;
            -h | --help) usage; exit 0 ;;
            *) die "'$1' is not an option; try --help" ;;
        esac
        shift
    done
    if [ -z "$prefix" ]; then
        if [ "$(id -u)" = 0 ]; then prefix=/usr/local; else prefix=${HOME:?is not set: give --prefix DIR}/.local; fi
    fi
    case $prefix in /*) ;; *) die "--prefix '$prefix' is not an absolute path" ;; esac
    prefix=${prefix%/}
    bin=$prefix/bin
    list=$prefix/share/doc/sandkeep/installed
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM HUP
    umask 022
    "$action"
}

main "$@"
