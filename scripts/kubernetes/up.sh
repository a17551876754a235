#!/bin/bash
# A one-node Kubernetes cluster in a network namespace of its own: etcd, API server, controller manager, scheduler, containerd, kubelet,
# kube-proxy, CoreDNS, as plain processes. Ready in half a minute, 0.9 GB. After build.sh; needs root. down.sh ends it.
# usage: scripts/kubernetes/up.sh          then scripts/kubernetes/kubectl.sh get nodes
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
[ -x "$K/bin/hyperkube" ] && [ -x "$K/bin/coredns" ] || { echo "up.sh: run scripts/kubernetes/build.sh first" >&2; exit 1; }
[ ! -e "/run/netns/$NAMESPACE" ] || { echo "up.sh: a cluster is there already; scripts/kubernetes/down.sh ends it" >&2; exit 1; }
rm -rf "$RUN"
mkdir -p "$RUN"/{pki,log,pid,containerd,cni/net.d,kubelet/manifests,podlogs}
cd "$RUN"
. "$HERE/certificates.sh"

network() {
    ip netns add "$NAMESPACE"
    ip -n "$NAMESPACE" link set lo up
    ip -n "$NAMESPACE" link add cni0 type bridge
    ip -n "$NAMESPACE" addr add "$NODE_IP/24" dev cni0
    ip -n "$NAMESPACE" addr add "$DNS/32" dev cni0
    ip -n "$NAMESPACE" link set cni0 up
    ip -n "$NAMESPACE" route add default via "$NODE_IP"
    inside sysctl -qw net.ipv4.ip_forward=1
    inside sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true
}

# start PROGRAM ARGUMENT...: in the background, in a session of its own
start() {
    local name=$1
    nsenter --net="/run/netns/$NAMESPACE" setsid "$@" >"log/$name.log" 2>&1 </dev/null & # not a function: $! must be the program
    echo $! >"pid/$name"
}

# wait_for WHAT COMMAND...: until it succeeds, at most two minutes
wait_for() {
    local what=$1 i
    shift
    for i in $(seq 400); do
        ! "$@" >/dev/null 2>&1 || { echo "$what after $SECONDS s"; return 0; }
        sleep 0.3
    done
    echo "up.sh: no $what; see $RUN/log" >&2
    exit 1
}

control_plane() {
    start etcd --data-dir "$RUN/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
        --initial-cluster default=http://127.0.0.1:2380 --unsafe-no-fsync=true
    start kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address="$NODE_IP" --secure-port=6443 \
        --advertise-address="$NODE_IP" --endpoint-reconciler-type=lease --service-cluster-ip-range="$SERVICES" \
        --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key --client-ca-file=pki/ca.crt \
        --service-account-key-file=pki/sa.pub --service-account-signing-key-file=pki/sa.key \
        --service-account-issuer=https://kubernetes.default.svc.cluster.local --authorization-mode=Node,RBAC \
        --kubelet-client-certificate=pki/apiserver-kubelet.crt --kubelet-client-key=pki/apiserver-kubelet.key \
        --kubelet-preferred-address-types=InternalIP --allow-privileged=true
    wait_for "API server" "$HERE/kubectl.sh" get --raw /readyz
    start kube-controller-manager --kubeconfig=cm.conf --leader-elect=false --use-service-account-credentials=true \
        --service-account-private-key-file=pki/sa.key --root-ca-file=pki/ca.crt --cluster-signing-cert-file=pki/ca.crt \
        --cluster-signing-key-file=pki/ca.key --allocate-node-cidrs=true --cluster-cidr=10.244.0.0/16 --bind-address=127.0.0.1
    start kube-scheduler --kubeconfig=sched.conf --leader-elect=false --bind-address=127.0.0.1
    wait_for "default service account" "$HERE/kubectl.sh" -n default get serviceaccount default
}

node() {
    . "$HERE/node-config.sh"
    start containerd -c containerd/config.toml
    wait_for containerd ctr -a "$RUN/containerd/containerd.sock" version
    "$HERE/import.sh" "$K/images/pause.tar"
    start kubelet --config=kubelet/config.yaml --kubeconfig=kubelet.conf --root-dir="$RUN/kubelet" --hostname-override=node1 \
        --node-ip="$NODE_IP" --v=1
    start kube-proxy --oom-score-adj=0 --kubeconfig=proxy.conf --proxy-mode=iptables --cluster-cidr=10.244.0.0/16 \
        --hostname-override=node1 --healthz-bind-address=127.0.0.1:10256 --metrics-bind-address=127.0.0.1:10249 \
        --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
    wait_for "ready node" "$HERE/kubectl.sh" wait --for=condition=Ready --timeout=1s node/node1
}

dns() {
    cat >Corefile <<C
.:53 {
  bind $DNS
  errors
  cache 5
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $RUN/admin.conf x
    pods insecure
  }
}
C
    start coredns -conf "$RUN/Corefile"
    wait_for "name service" sh -c "nsenter --net=/run/netns/$NAMESPACE dig +short +time=1 +tries=1 @$DNS kubernetes.default.svc.cluster.local | grep -q 10.96.0.1"
}

network
certificates
control_plane
node
dns
