#!/bin/bash
# Ends the cluster that up.sh started, by the process ids that it kept, and takes away what it made: pods, mounts, namespaces, control
# groups, files. usage: scripts/kubernetes/down.sh
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
[ -d "$RUN/pid" ] || exit 0
cd "$RUN" || exit 1

# ends NAME...: SIGTERM, and SIGKILL to who is still there after ten seconds
ends() {
    local name pid i
    for name; do
        [ ! -f "pid/$name" ] || kill "$(cat "pid/$name")" 2>/dev/null
    done
    for name; do
        [ -f "pid/$name" ] || continue
        pid=$(cat "pid/$name")
        for i in $(seq 50); do
            kill -0 "$pid" 2>/dev/null || break
            [ "$i" -lt 50 ] || kill -9 "$pid" 2>/dev/null
            sleep 0.2
        done
        rm -f "pid/$name"
    done
}

ends kubelet kube-proxy
if [ -S containerd/containerd.sock ]; then
    c="ctr -a $RUN/containerd/containerd.sock -n k8s.io"
    for task in $($c task ls -q); do
        $c task kill -s KILL "$task"
    done
    sleep 1
    for container in $($c container ls -q); do
        $c task rm -f "$container" 2>/dev/null
        $c container rm "$container"
    done
fi >/dev/null 2>&1
ends coredns containerd kube-scheduler kube-controller-manager kube-apiserver etcd
for mount in $(awk '{print $2}' /proc/mounts | grep "^$RUN/" | sort -r); do
    umount "$mount" 2>/dev/null || umount -l "$mount"
done
# Network namespaces of pods are named by containerd's plugin; those that hold no process any more are ours.
for name in $(ip netns ls | awk '/^cni-/{print $1}'); do
    [ -n "$(ip netns pids "$name")" ] || ip netns del "$name"
done
ip netns del "$NAMESPACE" 2>/dev/null
find /sys/fs/cgroup/*/kubepods /sys/fs/cgroup/kubepods -depth -type d -exec rmdir {} + 2>/dev/null
rm -rf "$RUN"
exit 0
