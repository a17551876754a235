# Sourced by up.sh: configuration of containerd, its network and the kubelet. Settings that also work inside a container: control groups of
# version 1 without systemd, no change of OOM scores.
cat >containerd/config.toml <<C
version = 2
root = "$RUN/containerd/root"
state = "$RUN/containerd/state"
oom_score = 0
[grpc]
  address = "$RUN/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:3.10"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$RUN/cni/net.d"
C
cat >cni/net.d/10-bridge.conflist <<C
{"cniVersion":"0.4.0","name":"podnet","plugins":[
 {"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,"hairpinMode":true,"ipam":{"type":"host-local","dataDir":"$RUN/cni/ipam","ranges":[[{"subnet":"$PODS"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
C
cat >kubelet/config.yaml <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $RUN/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $RUN/pki/kubelet.crt
tlsPrivateKeyFile: $RUN/pki/kubelet.key
address: 0.0.0.0
healthzBindAddress: 127.0.0.1
clusterDNS: [$DNS]
clusterDomain: cluster.local
cgroupDriver: cgroupfs
cgroupRoot: /
cgroupsPerQOS: true
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
oomScoreAdj: 0
makeIPTablesUtilChains: true
resolvConf: ""
podLogsDir: $RUN/podlogs
containerRuntimeEndpoint: unix://$RUN/containerd/containerd.sock
evictionHard: {"nodefs.available": "1%", "memory.available": "100Mi", "imagefs.available": "1%"}
imageGCHighThresholdPercent: 100
C
