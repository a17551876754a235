#!/usr/bin/env bash
# The S3 server of the tests: versitygw, strict about signatures, checksums and conditional writes, small and quick.
# Usage: versitygw.sh build                     fetch and build it once (about 5 minutes of CPU); prints the binary's path
#        versitygw.sh up PORT DIR [CERT KEY]    start on 127.0.0.1:PORT over DIR (a bucket is a folder of it); prints the endpoint
#        versitygw.sh down DIR                  stop what serves DIR
# Users: AK and SK of the environment (default testak, testsecret123). The binary is kept in ${XDG_CACHE_HOME:-~/.cache}/weir.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/common.sh"
version=v1.8.0
binary=$cache/bin/versitygw-$version

build() {
    build_program "$binary" github.com/versity/versitygw "$version" ./cmd/versitygw
}

up() {
    local port=$1 dir tls=() scheme=http
    mkdir -p "$2"
    dir=$(cd "$2" && pwd)
    if [ $# -ge 4 ]; then
        tls=(--cert "$(readlink -f "$3")" --key "$(readlink -f "$4")")
        scheme=https
    fi
    build >&2
    serve "$dir" "$port" "$scheme" "$binary" -a "${AK:-testak}" -s "${SK:-testsecret123}" -p "127.0.0.1:$port" -q \
        --virtual-domain s3.localhost "${tls[@]}" posix "$dir"
}

case ${1:-} in
build) build && echo "$binary" ;;
up) shift && up "$@" ;;
down) stop "$2" versitygw ;;
*) sed -n '2,6p' "$0" >&2; exit 2 ;;
esac
