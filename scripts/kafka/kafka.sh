#!/usr/bin/env bash
# The Kafka brokers of the tests: Apache Kafka 4.3.1 from Maven Central, KRaft, every node broker and controller.
# Usage: kafka.sh fetch                          jars into the cache, once (45 MB), and an archive of their classes for quick starts
#        kafka.sh up DIR PORT [NODES]            start NODES brokers (default 1) that keep their data in DIR; prints the bootstrap list.
#                                                Node i: clients on 127.0.0.1:PORT+i-1, SASL_SSL on PORT+100+i-1, controller on PORT+50+i-1.
#                                                Again on the same DIR: starts the nodes that are down
#        kafka.sh start DIR NODE                 start one node that is down
#        kafka.sh signal DIR NODE SIGNAL         KILL, STOP, CONT, TERM to one node
#        kafka.sh stop DIR NODE                  stop one node in order (TERM, KILL after 15 s)
#        kafka.sh down DIR [rm]                  stop them (TERM, KILL after 15 s); rm: remove DIR too
#        kafka.sh tool CLASS [ARGUMENT...]       one of Kafka's tools: org.apache.kafka.tools.TopicCommand ...
# Environment: SASL=1 adds the SASL_SSL listener (user alice, password alice-secret, SCRAM-SHA-256, SCRAM-SHA-512, PLAIN; CA in DIR/ca.pem)
#              EXTRA="name=value ..." more lines of server.properties; KAFKA_HEAP=512m; KAFKA_WAIT=60 seconds until ready
#              KAFKA_JVM (default -XX:TieredStopAtLevel=1: starts quickly; empty for measuring)
#              KAFKA_GC (default -XX:+UseSerialGC: little memory; it stops a busy broker for tens of ms each second or two)
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
version=4.3.1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/weir/kafka-$version
archive=$cache/classes.jsa
wait=${KAFKA_WAIT:-60}

fail() { echo "kafka.sh: $*" >&2; exit 1; }
class_path() { printf '%s:' "$cache"/libs/*.jar; }

# java ARGUMENT...: with the class archive where it fits this JVM (it says nothing where it does not).
java_with() {
    # shellcheck disable=SC2206
    local options=(${KAFKA_GC--XX:+UseSerialGC} -Djava.awt.headless=true "-Dlog4j2.configurationFile=$here/log4j2.properties")
    [ -f "$archive" ] && options+=("-XX:SharedArchiveFile=$archive" -Xlog:cds=off -Xlog:cds+dynamic=off)
    exec java "${options[@]}" -cp "$(class_path)" "$@"
}

tool() { (java_with -Xmx256m -XX:TieredStopAtLevel=1 -Dweir.log=error -Dweir.log.to=SYSTEM_ERR "$@"); }

fetch() {
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
    if [ ! -f "$cache/complete" ]; then
        rm -rf "$cache/libs"
        mvn -B -q -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$cache/libs" >&2
        touch "$cache/complete"
    fi
    # The archive belongs to one JVM: 2.5 s of CPU a start instead of 6.5.
    if [ "$(cat "$cache/jvm" 2>/dev/null)" != "$(java -version 2>&1)" ]; then
        rm -f "$archive"
        local work port
        work=$(mktemp -d)
        port=$((20000 + RANDOM % 8000))
        configure "$work" "$port" 1 1
        format "$work" 1
        (java_with -Xmx256m "-XX:ArchiveClassesAtExit=$archive.new" -Xlog:cds=off -Xlog:cds+dynamic=off kafka.Kafka \
            "$work/n1/server.properties" >"$work/log" 2>&1 </dev/null 9>&-) &
        for _ in $(seq 600); do
            grep -q 'Kafka Server started' "$work/log" && break
            sleep 0.1
        done
        pkill -TERM -f "^java .* $work/n1/server.properties" || true
        wait $! || true
        [ -f "$archive.new" ] && mv "$archive.new" "$archive"
        java -version >"$cache/jvm" 2>&1
        rm -rf "$work"
    fi
    exec 9>&-
}

# The process of a node, only while it is one: a pid may have been given to another since.
pid_of() {
    local pid
    pid=$(cat "$1/n$2/pid" 2>/dev/null) || return 1
    tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$1/n$2/server.properties" || return 1
    [ "$(sed 's/.*) //; s/ .*//' "/proc/$pid/stat" 2>/dev/null)" != Z ] || return 1
    echo "$pid"
}

random_id() { head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d = | sed 's/^-/A/'; }

certificates() { # DIR
    [ -s "$1/server.p12" ] && return
    (
        cd "$1"
        openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=weir-test-ca -keyout ca.key -out ca.pem
        openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr
        echo "subjectAltName=DNS:localhost,IP:127.0.0.1" >server.ext
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile server.ext -out server.pem
        openssl pkcs12 -export -in server.pem -inkey server.key -certfile ca.pem -passout pass:changeit -out server.p12
    ) 2>/dev/null
}

configure() { # DIR PORT NODES NODE
    local dir=$1 port=$2 nodes=$3 node=$4 voters= replicas=$(($3 < 3 ? $3 : 3)) listeners
    local in_sync=$((replicas > 2 ? 2 : 1)) extra i
    for i in $(seq "$nodes"); do voters+="${voters:+,}$i@127.0.0.1:$((port + 49 + i))"; done
    listeners="PLAINTEXT://127.0.0.1:$((port + node - 1))"
    [ "${SASL:-0}" = 1 ] && listeners+=",SASL_SSL://127.0.0.1:$((port + 99 + node))"
    mkdir -p "$dir/n$node"
    {
        cat <<C
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
listeners=$listeners,CONTROLLER://127.0.0.1:$((port + 49 + node))
advertised.listeners=$listeners
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/n$node/data
num.partitions=1
auto.create.topics.enable=false
default.replication.factor=$replicas
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$in_sync
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$in_sync
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.backoff.ms=1000
log.segment.bytes=268435456
log.retention.hours=-1
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
C
        if [ "${SASL:-0}" = 1 ]; then
            local module=org.apache.kafka.common.security
            cat <<C
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=$module.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=$module.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=$module.plain.PlainLoginModule required user_alice="alice-secret";
listener.name.sasl_ssl.ssl.keystore.type=PKCS12
listener.name.sasl_ssl.ssl.keystore.location=$dir/server.p12
listener.name.sasl_ssl.ssl.keystore.password=changeit
listener.name.sasl_ssl.ssl.key.password=changeit
C
        fi
        for extra in ${EXTRA:-}; do echo "$extra"; done
    } >"$dir/n$node/server.properties"
}

# Formatting takes a JVM, so it is done once: what it writes (feature levels, SCRAM users) names neither cluster nor node and is kept.
format() { # DIR NODE
    local dir=$1 node=$2 data=$1/n$2/data kind=plain users=() template
    [ -f "$data/meta.properties" ] && return
    [ -s "$dir/cluster.id" ] || random_id >"$dir/cluster.id"
    [ "${SASL:-0}" = 1 ] && kind=sasl
    template=$cache/bootstrap-$kind.checkpoint
    rm -rf "$data"
    if [ -s "$template" ]; then
        mkdir -p "$data"
        cp "$template" "$data/bootstrap.checkpoint"
        printf 'version=1\ncluster.id=%s\nnode.id=%s\ndirectory.id=%s\n' "$(cat "$dir/cluster.id")" "$node" "$(random_id)" \
            >"$data/meta.properties"
        return
    fi
    [ $kind = sasl ] && users=(--add-scram "SCRAM-SHA-256=[name=alice,password=alice-secret]"
        --add-scram "SCRAM-SHA-512=[name=alice,password=alice-secret]")
    tool kafka.tools.StorageTool format -t "$(cat "$dir/cluster.id")" -c "$dir/n$node/server.properties" "${users[@]}" \
        >"$dir/n$node/format.log" 2>&1 || fail "$(cat "$dir/n$node/format.log")"
    cp "$data/bootstrap.checkpoint" "$template.$$"
    mv "$template.$$" "$template"
}

launch() { # DIR NODE
    local log=$1/n$2/broker.log
    [ -f "$log" ] && cat "$log" >>"$1/n$2/broker.old.log"
    # shellcheck disable=SC2086
    (setsid bash "$here/kafka.sh" broker "-Xmx${KAFKA_HEAP:-512m}" ${KAFKA_JVM--XX:TieredStopAtLevel=1} \
        kafka.Kafka "$1/n$2/server.properties" >"$log" 2>&1 </dev/null &
        echo $! >"$1/n$2/pid")
}

await() { # DIR NODE
    local end=$(($(date +%s) + wait)) log=$1/n$2/broker.log
    until grep -q 'Kafka Server started' "$log"; do
        sleep 0.1
        pid_of "$1" "$2" >/dev/null || { sleep 0.3; pid_of "$1" "$2" >/dev/null; } || fail "node $2 died: $(tail -n 15 "$log")"
        [ "$(date +%s)" -lt $end ] || fail "node $2 is not ready after $wait s: $(tail -n 15 "$log")"
    done
}

up() { # DIR PORT [NODES]
    local dir port=$2 nodes=${3:-1} started=() bootstrap= i
    fetch
    mkdir -p "$1"
    dir=$(cd "$1" && pwd)
    [ "${SASL:-0}" = 1 ] && certificates "$dir"
    for i in $(seq "$nodes"); do
        bootstrap+="${bootstrap:+,}127.0.0.1:$((port + i - 1))"
        pid_of "$dir" "$i" >/dev/null && continue
        configure "$dir" "$port" "$nodes" "$i"
        format "$dir" "$i"
        launch "$dir" "$i"
        started+=("$i")
    done
    for i in "${started[@]}"; do await "$dir" "$i"; done
    echo "$bootstrap"
}

end() { # DIR NODE...: all at the same time
    local dir=$1 pid node
    shift
    for node in "$@"; do
        pid=$(pid_of "$dir" "$node") && kill -CONT "$pid" && kill -TERM "$pid"
    done 2>/dev/null || true
    for node in "$@"; do
        for _ in $(seq 150); do
            pid=$(pid_of "$dir" "$node") || break
            sleep 0.1
        done
        pid=$(pid_of "$dir" "$node") && kill -KILL "$pid"
        rm -f "$dir/n$node/pid"
    done 2>/dev/null || true
}

down() { # DIR [rm]
    local dir nodes=() node
    dir=$(cd "$1" 2>/dev/null && pwd) || return 0
    for node in "$dir"/n[0-9]*; do nodes+=("${node##*/n}"); done
    end "$dir" "${nodes[@]}"
    [ "${2:-}" = rm ] && rm -rf "$dir"
    return 0
}

case ${1:-} in
fetch) fetch && echo "$cache" ;;
up) [ $# -ge 3 ] || fail "up DIR PORT [NODES]"; up "$2" "$3" "${4:-1}" ;;
start)
    dir=$(cd "$2" && pwd)
    pid_of "$dir" "$3" >/dev/null || { launch "$dir" "$3"; await "$dir" "$3"; }
    ;;
signal)
    dir=$(cd "$2" && pwd)
    pid=$(pid_of "$dir" "$3") || fail "node $3 is not running"
    kill "-$4" "$pid"
    ;;
stop)
    dir=$(cd "$2" && pwd)
    end "$dir" "$3"
    ;;
down) down "$2" "${3:-}" ;;
tool) shift; fetch; tool "$@" ;;
broker) shift; java_with "$@" ;; # what 'up' runs
*) sed -n '2,16p' "$0" >&2; exit 2 ;;
esac
