#!/usr/bin/env bash
# The schema registry of the tests: Apicurio Registry 3.0.9 from Maven Central, which keeps what it is told in memory.
# Usage: registry.sh fetch                download into the cache, once (109 MB)
#        registry.sh up DIR PORT          start one; prints the URL of its Confluent interface. Its log and its pid lie in DIR
#        registry.sh down DIR [rm]        stop it (TERM, KILL after 10 s); rm: remove DIR too
# Environment: REGISTRY_WAIT=120 seconds until ready; REGISTRY_OPTIONS="-Dname=value ..." more of Apicurio's settings
set -euo pipefail
version=3.0.9
cache=${XDG_CACHE_HOME:-$HOME/.cache}/weir/apicurio-$version
api=/apis/ccompat/v7

fail() { echo "registry.sh: $*" >&2; exit 1; }

fetch() {
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
    if [ ! -f "$cache/complete" ]; then
        rm -rf "$cache/download" "$cache/app"
        mkdir "$cache/app"
        mvn -B -q dependency:copy -Dartifact="io.apicurio:apicurio-registry-app:$version:tar.gz:all" \
            -DoutputDirectory="$cache/download" >&2
        tar xzf "$cache"/download/*.tar.gz -C "$cache/app"
        rm -rf "$cache/download"
        touch "$cache/complete"
    fi
    exec 9>&-
}

# Only while it is this server: a pid may have been given to another since.
pid_of() {
    local pid
    pid=$(cat "$1/pid" 2>/dev/null) || return 1
    tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF -e "-Dweir.registry.dir=$1" || return 1
    [ "$(sed 's/.*) //; s/ .*//' "/proc/$pid/stat" 2>/dev/null)" != Z ] || return 1
    echo "$pid"
}

up() { # DIR PORT
    local dir end
    mkdir -p "$1"
    dir=$(cd "$1" && pwd)
    # shellcheck disable=SC2086
    (
        cd "$cache/app"
        setsid java -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "-Dweir.registry.dir=$dir" -Dquarkus.http.host=127.0.0.1 "-Dquarkus.http.port=$2" \
            -Dquarkus.management.enabled=false -Dquarkus.otel.sdk.disabled=true -Dapicurio.storage.kind=sql -Dapicurio.storage.sql.kind=h2 \
            ${REGISTRY_OPTIONS:-} -jar ./*-runner.jar >"$dir/log" 2>&1 </dev/null 9>&- &
        echo $! >"$dir/pid"
    )
    end=$(($(date +%s) + ${REGISTRY_WAIT:-120}))
    until curl -sf --noproxy '*' -o /dev/null "http://127.0.0.1:$2$api/subjects"; do
        sleep 0.1
        pid_of "$dir" >/dev/null || { sleep 0.3; pid_of "$dir" >/dev/null; } || fail "it died: $(tail -n 15 "$dir/log")"
        [ "$(date +%s)" -lt $end ] || fail "it is not ready after ${REGISTRY_WAIT:-120} s: $(tail -n 15 "$dir/log")"
    done
    echo "http://127.0.0.1:$2$api"
}

down() { # DIR [rm]
    local dir pid
    dir=$(cd "$1" 2>/dev/null && pwd) || return 0
    pid=$(pid_of "$dir") && kill -TERM "$pid"
    for _ in $(seq 100); do
        pid_of "$dir" >/dev/null || break
        sleep 0.1
    done
    pid=$(pid_of "$dir") && kill -KILL "$pid"
    rm -f "$dir/pid"
    [ "${2:-}" = rm ] && rm -rf "$dir"
    return 0
}

case ${1:-} in
fetch) fetch && echo "$cache" ;;
up) [ $# -eq 3 ] || fail "up DIR PORT"; fetch; up "$2" "$3" ;;
down) down "$2" "${3:-}" ;;
*) sed -n '2,6p' "$0" >&2; exit 2 ;;
esac
