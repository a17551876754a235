#!/usr/bin/env python3
"""What a Kafka broker, its listener, its logins or its ACLs refuse: a job fails with a sentence that says what, in bounded time, and shows it."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kafka_kit import Kafka  # noqa: E402
from weir_test import BUILD, Cluster, main  # noqa: E402

JOB = os.path.join(BUILD, "tests", "jobs", "kafka_login.so")
CLUSTER = {"restart-strategy.type": "none", "execution.checkpointing.interval": "200 ms"}


def arguments(**more):
    given = {"topic": "rows", "brokers": f"localhost:{kafka.port + 100}", "ca": os.path.join(kafka.dir, "ca.pem"), "mechanism": "PLAIN",
             "output": tempfile.mkdtemp(dir=kafka.dir), **more}
    return [f"--{k.replace('_', '-')}={v}" for k, v in given.items()]


def deny(kind, name, operation):
    from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType
    binding = AclBinding(getattr(ResourceType, kind), name, ResourcePatternType.LITERAL, "User:alice", "*", getattr(AclOperation, operation), AclPermissionType.DENY)
    for future in kafka.admin.create_acls([binding]).values():
        future.result(30)


def failures(cluster, table):
    """Of each row (what, arguments, texts of the cause) the job fails, and says so."""
    jobs = [(what, wanted, cluster.submit(JOB, *arguments(**more))) for what, more, wanted in table] # side by side: some wait for a timeout
    for what, wanted, job in jobs:
        cluster.wait_state(job, "FAILED", timeout_s=150)
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
            ("an unknown topic", {"topic": "nowhere"}, ("there is no topic 'nowhere'",)),
            ("a topic that may not be described", {"topic": "hidden"}, ("hidden", "authorization failed")),
            ("a topic that may not be read", {"topic": "denied"}, ("denied", "authorization failed")),
            ("a record over the limit", {"size_max": "5 b"}, ("rows, partition 0, offset 0", "record.size-max")),
        ])


def test_of_a_sink():
    with Cluster(slots=10, config=CLUSTER) as cluster:
        failures(cluster, [(what, {"guarantee": "at-least-once", "to": "out", **more}, wanted) for what, more, wanted in (
            ("a wrong password", {"to_password": "wrong"}, ("authentication failed",)),
            ("an unknown topic", {"to": "nowhere"}, ("nowhere",)),
            ("a topic that may not be written", {"to": "denied-out"}, ("authorization failed",)),
            ("messages over the topic's limit", {"to": "small"}, ("too large",)))])


if __name__ == "__main__":
    with Kafka(sasl=True, extra="auto.create.topics.enable=false authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer "
                                "allow.everyone.if.no.acl.found=true super.users=User:ANONYMOUS") as kafka:
        for name in ("rows", "hidden", "denied", "out", "denied-out"):
            kafka.create(name)
        kafka.create("small", max_message_bytes=100)
        kafka.produce("rows", [(0, None, '{"id": %d}' % i) for i in range(100)])
        kafka.produce("denied", [(0, None, '{"id": 1}')])
        deny("TOPIC", "hidden", "DESCRIBE")
        deny("TOPIC", "denied", "READ")
        deny("TOPIC", "denied-out", "WRITE")
        main(globals())
