#!/bin/sh
# Runs inside a clean root with weir and libweir-dev installed: the daemons as their units start them (user, command line, environment,
# directories, a system that is read-only but for those), a job compiled by the README's line, and an orderly end. systemd itself
# cannot run here; what a unit says is read from it. Prints what it checked; the first failure ends it.
set -eu
fail() { echo "$*" >&2; for f in /var/log/weir/* /tmp/*.err; do echo "--- $f"; tail -n 30 "$f"; done >&2 2>/dev/null; exit 1; }
units=/usr/lib/systemd/system
setting() { sed -n "s/^$2=//p" "$units/$1.service"; }

# start UNIT: $! is its process
start() {
    unit=$1
    state=/var/lib/$(setting "$unit" StateDirectory) logs=/var/log/$(setting "$unit" LogsDirectory)
    run=/run/$(setting "$unit" RuntimeDirectory)
    user=$(setting "$unit" User)
    [ "$user" = weir ] || fail "$unit runs as '$user'"
    install -d -o "$user" -g "$user" -m "$(setting "$unit" StateDirectoryMode)" "$state"
    install -d -o "$user" -g "$user" -m "$(setting "$unit" LogsDirectoryMode)" "$logs"
    install -d -m 0755 /run/weir
    install -d -o "$user" -g "$user" -m 0755 "$run"
    command=$(setting "$unit" ExecStart)
    environment=$(setting "$unit" Environment)
    # shellcheck disable=SC2086
    unshare --mount sh -euc '
        state=$1 logs=$2 run=$3 user=$4; shift 4
        mount -t tmpfs tmpfs /tmp; mount -t tmpfs tmpfs /home; mount -t tmpfs tmpfs /root
        chmod 1777 /tmp
        for d in "$state" "$logs" "$run"; do mount --bind "$d" "$d"; done
        mount -o remount,bind,ro /
        cd /
        exec setpriv --reuid "$user" --regid "$user" --init-groups --no-new-privs --bounding-set=-all --inh-caps=-all env -i PATH=/usr/bin:/bin "$@"
        ' - "$state" "$logs" "$run" "$user" STATE_DIRECTORY="$state" LOGS_DIRECTORY="$logs" RUNTIME_DIRECTORY="$run" $environment $command \
        2>"/tmp/$unit.err" &
}

wait_for() { # FILE SECONDS
    n=0
    while [ ! -e "$1" ]; do
        n=$((n + 1))
        [ $n -lt $(($2 * 10)) ] || fail "no $1 after $2 s"
        sleep 0.1
    done
}

processes() { grep -lszE '^(/usr/bin/|[^/]*)weir-(jobmanager|taskmanager|executor)' /proc/[0-9]*/cmdline || true; }

[ "$(getent passwd weir | cut -d: -f6,7)" = /var/lib/weir:/usr/sbin/nologin ] || fail "the user weir: $(getent passwd weir)"
[ "$(stat -c '%U:%G %a' /var/lib/weir /var/log/weir | sort -u)" = "weir:weir 750" ] || fail "/var/lib/weir or /var/log/weir"
[ -z "$(processes)" ] || fail "installing started something"
[ ! -e /etc/systemd/system/multi-user.target.wants/weir-jobmanager.service ] || fail "installing enabled a unit"

start weir-jobmanager
jobmanager=$!
wait_for /run/weir/jobmanager/jobmanager.json 30
start weir-taskmanager
taskmanager=$!
wait_for /run/weir/taskmanager/taskmanager.json 30

# As any user of the host.
mkdir -m 0777 /tmp/user
cp /usr/share/doc/weir/examples/gpu-temperature/job.c /tmp/user
as_user() { setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs env -i PATH=/usr/bin:/bin HOME=/tmp/user "$@"; }
# shellcheck disable=SC2016
as_user sh -c 'cd /tmp/user && cc -shared -fPIC job.c -o job.so $(pkg-config --cflags --libs weir)' || fail "the README's cc line"
as_user weir run --local /tmp/user/job.so --input /usr/share/doc/weir/examples/gpu-temperature/readings.jsonl.gz --output /tmp/user/out \
    --window '1 d' --lateness '2 s' --threshold 80 || fail "weir run --local"
as_user weir run /tmp/user/job.so --input /usr/share/doc/weir/examples/gpu-temperature/readings.jsonl.gz --output /var/lib/weir/out \
    --window '1 d' --lateness '2 s' --threshold 80 || fail "weir run on the cluster"
for out in /tmp/user/out /var/lib/weir/out; do
    [ "$(cat $out/windows/part-* | wc -l)" = 1092 ] || fail "$out: $(cat $out/windows/part-* | wc -l) windows"
    [ "$(cat $out/alerts/part-* | wc -l)" = 65 ] || fail "$out: alerts"
done
[ "$(stat -c %U /var/lib/weir/out/windows)" = weir ] || fail "the job did not run as weir"
as_user weir list -a | grep -q FINISHED || fail "weir list -a"
for log in jobmanager.log taskmanager.log; do [ -s /var/log/weir/$log ] || fail "no /var/log/weir/$log"; done

kill -TERM $taskmanager $jobmanager
for pid in $taskmanager $jobmanager; do wait $pid || fail "a daemon ended with status $?"; done
n=0
while [ -n "$(processes)" ]; do
    n=$((n + 1))
    [ $n -lt 100 ] || fail "left running: $(processes)"
    sleep 0.1
done
[ ! -e /run/weir/jobmanager/jobmanager.json ] || fail "run/ is not empty"
echo "1092 windows, 65 alerts by --local and by the daemons"
