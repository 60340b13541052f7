# name: tools
# area: mounts
# about: Runs the usual tools: mount, umount, unshare, nsenter, chroot, pivot_root, losetup, swapon, insmod.
# expect: blocked
# control: namespace

tried=0
try() {
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || return 0
    tried=$((tried + 1))
    if PATH=$PATH:/usr/sbin:/sbin timeout 5 "$@" >/dev/null 2>&1 </dev/null; then
        echo "ESCAPED $* worked"
        exit 0
    fi
}
try mount -t tmpfs none /tmp
try mount --bind / /tmp
try mount -o remount,rw /usr
try umount /proc/sys
try umount -l /proc
try unshare --user --map-root-user true
try unshare --mount true
try unshare --net true
try nsenter --target 1 --mount --pid true
try nsenter --target 1 --user true
try chroot / /bin/true
try pivot_root /tmp /tmp
try insmod /dev/null
try losetup --find
try bwrap --unshare-all --ro-bind / / true
echo "BLOCKED $tried commands failed"
