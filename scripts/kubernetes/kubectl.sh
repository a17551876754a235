#!/bin/bash
# kubectl of the cluster that up.sh started. usage: scripts/kubernetes/kubectl.sh ARGUMENT...
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
export KUBECONFIG=$RUN/admin.conf
inside "$K/bin/kubectl" "$@"
