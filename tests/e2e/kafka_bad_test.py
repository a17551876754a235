#!/usr/bin/env python3
"""What a Kafka broker, its listener, its logins or its ACLs refuse: a job fails with a sentence that says what, in bounded time, and shows it."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kafka_kit import Kafka  # noqa: E402
from weir_test import BUILD, Cluster, main  # noqa: E402

JOB = os.path.join(BUILD, "tests", "jobs", "kafka_login.so")
SLOW = {"timeout": 60000} # where the answer is no timeout: for a busy machine
CLUSTER = {"restart-strategy.type": "none", "execution.checkpointing.interval": "200 ms"}


def arguments(**more):
    given = {"topic": "rows", "brokers": f"localhost:{kafka.port + 100}", "ca": os.path.join(kafka.dir, "ca.pem"), "mechanism": "PLAIN",
             "output": tempfile.mkdtemp(dir=kafka.dir), **more}
    return [f"--{k.replace('_', '-')}={v}" for k, v in given.items()]


def deny(kind, name, operation, pattern="LITERAL"):
    from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType
    binding = AclBinding(getattr(ResourceType, kind), name, getattr(ResourcePatternType, pattern), "User:alice", "*", getattr(AclOperation, operation), AclPermissionType.DENY)
    for future in kafka.admin.create_acls([binding]).values():
        future.result(30)


def failures(cluster, table):
    """Of each row (what, arguments, texts of the cause[, attempts]) the job fails, and says so."""
    jobs = [(what, wanted, attempts, cluster.submit(JOB, *arguments(**more))) for what, more, wanted, *attempts in table] # side by side: some wait for a timeout
    for what, wanted, attempts, job in jobs:
        cluster.wait_state(job, "FAILED", timeout_s=150)
        entries = cluster.rest(f"/jobs/{job}/exceptions")[1]["exceptionHistory"]["entries"]
        assert not attempts or len(entries) == attempts[0], f"{what}: {entries}"
        why = cluster.root_cause(job)["stacktrace"]
        print("#", what, "->", why.splitlines()[0][:300])
        for text in wanted:
            assert text.lower() in why.lower(), f"{what}: '{text}' is not in: {why}"
        assert "alice-secret" not in why, why
        assert "FAILED" in cluster.weir("list", "-a").stdout


def test_of_a_source():
    with Cluster(slots=10, config=CLUSTER) as cluster:
        failures(cluster, [
            ("no broker", {"brokers": "localhost:1"}, ("localhost:1", "refused")),
            ("TLS to a plain listener", {"brokers": f"localhost:{kafka.port}"}, ("security.protocol",)),
            ("plain to a TLS listener", {"protocol": "PLAINTEXT"}, ("security.protocol",)),
            ("a wrong password", {"password": "wrong"}, ("authentication failed",)),
            ("an unknown topic", {"topic": "nowhere", **SLOW}, ("there is no topic 'nowhere'",)),
            ("a topic that may not be described", {"topic": "hidden", **SLOW}, ("hidden", "authorization failed")),
            ("a topic that may not be read", {"topic": "denied", **SLOW}, ("denied", "authorization failed")),
            ("a record over the limit", {"size_max": "5 b", **SLOW}, ("rows, partition 0, offset 0", "record.size-max")),
        ])


def test_of_a_sink():
    """What cannot be mended by trying again ends the job at once, whatever the restart strategy; brokers that are away are tried again."""
    again = dict(CLUSTER, **{"restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "1", "restart-strategy.fixed-delay.delay": "100 ms"})
    both = (("a wrong password", {"to_password": "wrong"}, ("'properties.sasl.*'", "authentication failed", f"localhost:{kafka.port + 100}"), 1),
            ("no broker", {"to_brokers": "localhost:1", "to_timeout": "2000"}, ("'properties.bootstrap.servers'", "localhost:1", "refused"), 2),
            ("an unknown topic", {"to": "nowhere"}, ("unknown topic 'nowhere'", "auto.create.topics.enable"), 1),
            ("a topic that may not be described", {"to": "hidden"}, ("topic 'hidden'", "authorization failed"), 1),
            ("a topic that may not be written", {"to": "denied-out"}, ("denied-out", "authorization failed"), 1),
            ("messages over the topic's limit", {"to": "small"}, ("topic 'small'", "larger than the topic's max.message.bytes"), 1),
            ("messages over it, not compressed", {"to": "small", "codec": "none"}, ("without compression", "larger than the topic's max.message.bytes, 70"), 2))
    once = (("transactions that are denied", {"prefix": "denied-id"}, ("denied-id-", "sink.transactional-id-prefix", "authorization failed"), 1),
            ("a progress topic that may not be described", {"progress": "hidden"}, ("progress topic", "hidden", "authorization failed"), 1),
            ("transactions longer than the brokers allow", {"transaction_timeout": "3600000"}, ("transaction timeout",), 1))
    with Cluster(slots=len(both) + len(once), config=again) as cluster:
        for guarantee, table in (("at-least-once", both), ("exactly-once", both + once)):
            failures(cluster, [(f"{guarantee}: {what}", {"guarantee": guarantee, "to": "out", **SLOW, **more}, wanted, attempts) for what, more, wanted, attempts in table])


if __name__ == "__main__":
    with Kafka(sasl=True, extra="auto.create.topics.enable=false authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer "
                                "allow.everyone.if.no.acl.found=true super.users=User:ANONYMOUS") as kafka:
        for name in ("rows", "hidden", "denied", "out", "denied-out"):
            kafka.create(name)
        kafka.create("small", max_message_bytes=70)
        kafka.produce("rows", [(0, None, '{"id": %d}' % i) for i in range(100)])
        kafka.produce("denied", [(0, None, '{"id": 1}')])
        deny("TOPIC", "hidden", "DESCRIBE")
        deny("TOPIC", "denied", "READ")
        deny("TOPIC", "denied-out", "WRITE")
        deny("TRANSACTIONAL_ID", "denied-id", "WRITE", "PREFIXED")
        main(globals())
