#!/bin/bash
# Builds what a one-node Kubernetes cluster is made of, from package registries alone: the Kubernetes programs as one binary and CoreDNS (Go
# module proxy; about 10 minutes of two cores the first time, 4 GB of Go's caches), the pause image; etcd, containerd and runc are Debian
# packages. Only what is missing. Needs Go 1.24 or later, and root. usage: scripts/kubernetes/build.sh
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
VERSION=v1.34.4

"$HERE/../deps.sh" kubernetes
command -v go >/dev/null || { echo "build.sh: Go is needed (1.24 or later), to build Kubernetes" >&2; exit 1; }

# Kubernetes' own go.mod has its parts replaced by folders of its repository: published modules of the same version take their place.
module() {
    local source staging=v0.${VERSION#v1.}
    source=$(go mod download -json "k8s.io/kubernetes@$VERSION" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    {
        printf 'module hyperkube\n\ngo 1.24.0\ngodebug default=go1.24\n\nrequire k8s.io/kubernetes %s\n' "$VERSION"
        sed -n '/^require (/,/^)/p' "$source/go.mod"
        echo 'replace ('
        sed -n 's#^\t\(k8s.io/[^ ]*\) => ./staging.*#\t\1 => \1 '"$staging"'#p' "$source/go.mod"
        echo ')'
    } >go.mod
    cp "$source/go.sum" go.sum
    chmod u+w go.sum
    go mod tidy -e
}

if [ ! -x "$K/bin/hyperkube" ]; then
    mkdir -p "$K/src/hyperkube"
    cd "$K/src/hyperkube"
    cp "$HERE/hyperkube/main.go" .
    [ -f go.mod ] || module
    stamp=
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        stamp="$stamp -X $package.gitVersion=$VERSION -X $package.gitMajor=1 -X $package.gitMinor=$(echo "$VERSION" | cut -d. -f2)"
        stamp="$stamp -X $package.gitTreeState=clean -X $package.buildDate=2026-01-01T00:00:00Z"
    done
    CGO_ENABLED=0 nice -n 10 go build -trimpath -ldflags "-s -w $stamp" -o "$K/bin/hyperkube" .
fi
for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
    ln -sf hyperkube "$K/bin/$name"
done

if [ ! -x "$K/bin/coredns" ]; then
    mkdir -p "$K/src/coredns"
    cd "$K/src/coredns"
    cp "$HERE"/coredns/* .
    CGO_ENABLED=0 nice -n 10 go build -trimpath -ldflags '-s -w' -o "$K/bin/coredns" .
fi

if [ ! -f "$K/images/pause.tar" ]; then
    context=$(mktemp -d)
    cc -static -Os -o "$context/pause" "$HERE/pause.c"
    printf 'FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n' >"$context/Containerfile"
    buildah bud -q --isolation chroot -t localhost/pause:3.10 "$context" >/dev/null
    podman save -q -o "$K/images/pause.tar" localhost/pause:3.10
    rm -rf "$context"
fi
