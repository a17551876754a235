#!/bin/bash
# Gives the node an image from an archive of `podman save`. usage: scripts/kubernetes/import.sh FILE.tar...
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
for archive; do
    ctr -a "$RUN/containerd/containerd.sock" -n k8s.io images import "$archive" >/dev/null
done
