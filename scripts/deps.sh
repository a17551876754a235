#!/bin/sh
# Installs the Debian/Ubuntu packages that building and testing need, and only those that are missing.
# Usage: scripts/deps.sh [build|image|kafka|test|fuzz|rival|portable|page|roots|list GROUP]   (default: test, which includes build; list: prints the names)
set -eu
build="build-essential pkg-config libzmq3-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler libcurl4-openssl-dev
libssl-dev libmicrohttpd-dev libjansson-dev libsimdjson-dev libxxhash-dev zlib1g-dev librocksdb-dev librdkafka-dev python3 procps"
kafka="maven default-jre-headless openssl sqlite3" # brokers, and what counts in the demo
test="libcmocka-dev libprotobuf-dev curl zsh fish iproute2 iptables $kafka"
containers="python3-venv debootstrap buildah podman runc netavark aardvark-dns"
want=$build
fuzz="clang libclang-rt-dev"
rival="openjdk-17-jdk-headless python3-pip" # Flink 1.20 runs best on Java 17, which Debian 12 has
portable="clang"
roots="debootstrap"
kubernetes="$containers etcd-server containerd containernetworking-plugins bind9-dnsutils conntrack iproute2 iptables libc6-dev"
list=
if [ "${1:-}" = list ]; then
    list=1
    shift
fi
case "${1:-test}" in
build) ;;
image) want="$build python3-venv" ;; # librdkafka comes from PyPI
kafka) want="$build $kafka" ;;
fuzz) want="$build $fuzz" ;;
rival) want="$build $rival" ;;
portable) want="$build $test $portable" ;; # inside a root
page) want=chromium ;;
roots) want=$roots ;;                      # what makes the roots
kubernetes) want=$kubernetes ;;             # a cluster of one node
*) want="$build $test $containers" ;;
esac
if [ -n "$list" ]; then
    echo $want
    exit
fi
missing=
for p in $want; do
    dpkg-query -W -f='${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing"
sudo=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "not root and no sudo: install these packages by hand:$missing" >&2; exit 1; }
    sudo=sudo
fi
# shellcheck disable=SC2086
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
