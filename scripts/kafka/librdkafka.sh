#!/usr/bin/env bash
# A current librdkafka. Debian 12's, 2.0.2, fails at SCRAM with brokers from 4.0 on (mended in 2.6.1), so programs take this one where it was
# fetched: `make` puts it into BUILD/lib/weir, where they look first. They are compiled against the distribution's header and linked by the name
# librdkafka.so.1 all the same, so that either library serves; what only a newer one has is found out when it runs.
# It is the library inside PyPI's confluent-kafka: made by librdkafka's authors, for x86-64 and arm64 and glibc from 2.28 on, TLS, SCRAM,
# OAUTHBEARER (OIDC), gzip, lz4, snappy and zstd in it, nothing shown but its own functions; 5 MB in seconds, where the source that npm's
# package brings (an older release) takes minutes to build, and npm. What it cannot: Kerberos. Its OpenSSL is renewed by a new release here.
# Usage: librdkafka.sh fetch             once, into the cache; prints the folder
#        librdkafka.sh put DIR [WHICH]   copies it into DIR if it was fetched; with WHICH=system takes it away again
set -euo pipefail
version=2.16.0
package=confluent-kafka==2.16.1
sha256_x86_64=24f613cc81a856b6fbb2d7d11044a9aa770044eecc1f83ff84618688b056be06
sha256_aarch64=c012a1d74f95e91c9c43f0aa996d5fea8582397144c1f96b553f24b594afa7c6
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/weir

fetch() { # MACHINE DIR
    local sha256=sha256_$1 work pip=${WEIR_PARTS:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/weir-parts}/venv/bin/pip
    [ -f "$2/librdkafka.so.1" ] && return
    [ -n "${!sha256:-}" ] || { echo "librdkafka.sh: there is none for $1: the distribution's is taken" >&2; return; }
    work=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    echo "fetching librdkafka $version" >&2
    [ -x "$pip" ] || { python3 -m venv "$work/venv"; pip=$work/venv/bin/pip; }
    echo "$package --hash=sha256:${!sha256}" >"$work/requirements.txt"
    "$pip" download -q --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: --implementation cp \
        --python-version 3.11 --abi cp311 --platform "manylinux_2_28_$1" -d "$work" -r "$work/requirements.txt" >&2 || {
        echo "librdkafka.sh: PyPI was not reached, or does not have it (above). Where a proxy has a certificate authority of its own, pip must know it" \
            "(/etc/pip.conf: cert). RDKAFKA=system takes the distribution's library instead" >&2
        return 1
    }
    python3 - "$work" <<'P' || return 1
import glob, sys, zipfile
wheel, = glob.glob(sys.argv[1] + "/*.whl")
with zipfile.ZipFile(wheel) as files:
    name, = (n for n in files.namelist() if n.startswith("confluent_kafka.libs/librdkafka-") and n.endswith(".so.1"))
    open(sys.argv[1] + "/librdkafka.so.1", "wb").write(files.read(name))
P
    mkdir -p "$2"
    mv "$work/librdkafka.so.1" "$2/librdkafka.so.1"
}

put() { # FROM DIR
    [ -f "$1/librdkafka.so.1" ] || { rm -f "$2/librdkafka.so.1"; return; }
    cmp -s "$1/librdkafka.so.1" "$2/librdkafka.so.1" && return
    mkdir -p "$2"
    cp "$1/librdkafka.so.1" "$2/librdkafka.so.1.new" # under another name first: what runs keeps its file
    mv "$2/librdkafka.so.1.new" "$2/librdkafka.so.1"
}

# The machine that is built for, by its compiler; Debian calls x86-64 by this name, too.
machine=$(${CC:-cc} -dumpmachine 2>/dev/null | sed 's/-.*//') || true
machine=${machine:-$(uname -m)}
place=$cache/librdkafka-$version-$machine
case ${1:-} in
fetch) fetch "$machine" "$place" && echo "$place" ;;
put) if [ "${3:-}" = system ]; then rm -f "$2/librdkafka.so.1"; else put "$place" "$2"; fi ;;
*) sed -n '2,11p' "$0" >&2; exit 2 ;;
esac
