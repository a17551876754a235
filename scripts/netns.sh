#!/bin/sh
# Hosts on one machine: network namespaces joined by a bridge, for tests and for trying a cluster of several hosts. Needs root, iproute2
# and iptables. Host N has the address 10.77.NET.N, this machine itself
# 10.77.NET.254; everything but the network (files, processes, users) is shared.
#
#   scripts/netns.sh check                  can this machine do it? (exit 1 and why not)
#   scripts/netns.sh up [HOSTS, 3]          make them
#   scripts/netns.sh exec N COMMAND...      run a command on host N
#   scripts/netns.sh address N              its address
#   scripts/netns.sh cut A B [one-way]      drop what A and B send each other; one-way: only what A sends to B
#   scripts/netns.sh link N down|up         pull or put in the cable of N
#   scripts/netns.sh shape N RATE|off       limit what N sends: 20mbit
#   scripts/netns.sh heal                   everything through again
#   scripts/netns.sh down                   remove them, with what still runs there
#
# WEIR_NETNS=NAME (weir) and WEIR_NETNS_NET=NET (0) keep several of them apart.
set -eu
name=${WEIR_NETNS:-weir}
net=${WEIR_NETNS_NET:-0}
bridge=${name}br
# shellcheck disable=SC2015
[ "${#name}" -le 8 ] && [ "$net" -ge 0 ] && [ "$net" -le 255 ] || { echo "netns.sh: WEIR_NETNS has at most 8 letters, WEIR_NETNS_NET is 0 to 255" >&2; exit 2; }

address() { echo "10.77.$net.$1"; }
host() { echo "$name-$1"; }
hosts() { ip netns list | sed -n "s/^$name-\([0-9][0-9]*\).*/\1/p" | sort -n; }

# The two iptables differ in what the kernel must have: the first that works is taken.
tables() {
    for t in iptables iptables-nft iptables-legacy; do
        if command -v "$t" >/dev/null && ip netns exec "$(host "$1")" "$t" -w -n -L OUTPUT >/dev/null 2>&1; then
            echo "$t"
            return
        fi
    done
    echo "netns.sh: no iptables works here" >&2
    return 1
}

up() {
    ip link add "$bridge" type bridge
    ip address add "$(address 254)/24" dev "$bridge"
    ip link set "$bridge" up
    for n in $(seq "$1"); do
        ip netns add "$(host "$n")"
        ip link add "${name}v$n" type veth peer name eth0 netns "$(host "$n")"
        ip link set "${name}v$n" master "$bridge" up
        ip -n "$(host "$n")" address add "$(address "$n")/24" dev eth0
        ip -n "$(host "$n")" link set eth0 up
        ip -n "$(host "$n")" link set lo up
    done
}

down() {
    for n in $(hosts); do
        pids=$(ip netns pids "$(host "$n")")
        # shellcheck disable=SC2086
        [ -z "$pids" ] || kill -KILL $pids 2>/dev/null || true
        ip netns del "$(host "$n")"
        ip link del "${name}v$n" 2>/dev/null || true
    done
    ip link del "$bridge" 2>/dev/null || true
}

drop() { ip netns exec "$(host "$1")" "$(tables "$1")" -w -A OUTPUT -d "$(address "$2")" -j DROP; }

heal() {
    for n in $(hosts); do
        ip netns exec "$(host "$n")" "$(tables "$n")" -w -F OUTPUT
        ip link set "${name}v$n" up
        tc -n "$(host "$n")" qdisc del dev eth0 root 2>/dev/null || true
    done
}

check() {
    [ "$(id -u)" -eq 0 ] || { echo "network namespaces are made by root"; return 1; }
    for c in ip tc iptables; do command -v $c >/dev/null || { echo "there is no $c"; return 1; }; done
    why=$( (name=wck$$; bridge=${name}b; net=255; up 1 && tables 1) 2>&1 >/dev/null) && result=0 || result=1
    name=wck$$ bridge=wck$$b; down 2>/dev/null || true
    [ $result -eq 0 ] || { echo "this machine gives no network namespaces: $why" | tr '\n' ' '; echo; return 1; }
}

usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2; exit 2; }

[ $# -ge 1 ] || usage
command=$1
shift
case $command in
check) check ;;
up) up "${1:-3}" ;;
down) down ;;
exec) [ $# -ge 2 ] || usage; n=$1; shift; exec ip netns exec "$(host "$n")" "$@" ;;
address) [ $# -eq 1 ] || usage; address "$1" ;;
cut)
    [ $# -ge 2 ] || usage
    drop "$1" "$2"
    [ "${3:-}" = one-way ] || drop "$2" "$1"
    ;;
link) [ $# -eq 2 ] || usage; ip link set "${name}v$1" "$2" ;;
shape)
    [ $# -eq 2 ] || usage
    tc -n "$(host "$1")" qdisc del dev eth0 root 2>/dev/null || true
    [ "$2" = off ] || tc -n "$(host "$1")" qdisc add dev eth0 root tbf rate "$2" burst 64k latency 100ms
    ;;
heal) heal ;;
*) usage ;;
esac
