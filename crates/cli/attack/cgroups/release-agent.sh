# name: release-agent
# area: cgroups
# about: Runs a program on the host by a control group's release agent (CVE-2022-0492).
# expect: blocked
# control: namespace

for controller in memory rdma pids cpu devices misc; do
    dir=/tmp/attack-cgroup-$controller
    mkdir -p "$dir" || exit 2
    if mount -t cgroup -o "$controller" none "$dir" 2>/dev/null; then
        umount "$dir" 2>/dev/null
        echo "ESCAPED the controller $controller could be mounted"
        exit 0
    fi
done
if mount -t cgroup2 none /tmp/attack-cgroup-memory 2>/dev/null; then
    umount /tmp/attack-cgroup-memory
    echo "ESCAPED cgroup2 could be mounted"
    exit 0
fi
agent=$(find / -xdev -maxdepth 6 -name release_agent -not -path '/proc/*' -print -quit 2>/dev/null)
if [ -n "$agent" ]; then
    echo "ESCAPED $agent is visible"
    exit 0
fi
echo "BLOCKED no controller mounts, no release_agent in sight"
