# Sourced by the scripts here. K: programs and running state, outside the checkout (WEIR_PARTS=DIR for another place than ~/.cache/weir-parts).
. "$(dirname "${BASH_SOURCE[0]}")/../containers/env.sh"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
K=$WEIR_PARTS/k8s
RUN=$K/run          # of the running cluster: keys, logs, process ids, etcd's and containerd's files
NAMESPACE=weir-kube # network namespace in which everything lives
SERVICES=10.96.0.0/16
DNS=10.96.0.10
PODS=10.244.0.0/24
NODE_IP=10.244.0.1
mkdir -p "$K/bin" "$K/images" "$K/src"
export PATH=$K/bin:/usr/sbin:$PATH GOTOOLCHAIN=local GOFLAGS=-buildvcs=false
# In the namespace, with this machine's /sys: `ip netns exec` would hide the control groups.
inside() { nsenter --net="/run/netns/$NAMESPACE" "$@"; }
