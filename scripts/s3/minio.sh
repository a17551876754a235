#!/usr/bin/env bash
# The second opinion on S3: MinIO, for `make check-minio`. Slow to build, so not for the short tests.
# Usage: minio.sh build                     fetch and build it once (10 to 40 minutes of CPU, 112 MB); prints the binary's path
#        minio.sh up PORT DIR [CERT KEY]    start on 127.0.0.1:PORT over DIR (a bucket is a folder of it); prints the endpoint
#        minio.sh down DIR                  stop what serves DIR
# Users: AK and SK of the environment (default testak, testsecret123). The binary is kept in ${XDG_CACHE_HOME:-~/.cache}/weir.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/common.sh"
version=v0.0.0-20260212201848-7aac2a2c5b7c
binary=$cache/bin/minio-$version

build() {
    build_program "$binary" github.com/minio/minio "$version" .
}

up() {
    local port=$1 dir tls=() scheme=http
    mkdir -p "$2"
    dir=$(cd "$2" && pwd)
    if [ $# -ge 4 ]; then # it reads them under these names
        mkdir -p "$dir.certs"
        cp "$3" "$dir.certs/public.crt"
        cp "$4" "$dir.certs/private.key"
        tls=(--certs-dir "$dir.certs")
        scheme=https
    fi
    build >&2
    export MINIO_ROOT_USER=${AK:-testak} MINIO_ROOT_PASSWORD=${SK:-testsecret123} MINIO_DOMAIN=s3.localhost
    serve "$dir" "$port" "$scheme" "$binary" server --address "127.0.0.1:$port" "${tls[@]}" --quiet "$dir"
}

case ${1:-} in
build) build && echo "$binary" ;;
up) shift && up "$@" ;;
down) stop "$2" minio ;;
*) sed -n '2,6p' "$0" >&2; exit 2 ;;
esac
