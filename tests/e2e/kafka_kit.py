"""Real brokers (scripts/kafka/kafka.sh), a real schema registry (scripts/kafka/registry.sh) and an independent client (confluent-kafka of PyPI) for tests of the Kafka connector."""
import glob
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from weir_test import ROOT, WAITS, free_port, wait_for  # noqa: E402

PARTS = os.environ.get("WEIR_PARTS", os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "weir-parts"))
sys.path[:0] = glob.glob(os.path.join(PARTS, "venv", "lib", "python3*", "site-packages"))
QUIET = {"log_level": 0}
SCRIPT = os.path.join(ROOT, "scripts", "kafka", "kafka.sh")
REGISTRY_SCRIPT = os.path.join(ROOT, "scripts", "kafka", "registry.sh")


def kafka_sh(*arguments, env=None, timeout_s=300):
    done = subprocess.run([SCRIPT, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=timeout_s * WAITS, env=dict(os.environ, **(env or {})))
    assert done.returncode == 0, f"kafka.sh {arguments}: {done.stderr}{done.stdout}"
    return done.stdout.strip()


class Kafka:
    """with Kafka(nodes=1) as kafka: brokers of its own, gone at the end."""

    def __init__(self, nodes=1, sasl=False, extra=""):
        self.nodes, self.env = nodes, {"SASL": "1" if sasl else "0", "EXTRA": extra, "KAFKA_WAIT": str(int(60 * WAITS))}
        self.dir = tempfile.mkdtemp(prefix="weir-kafka-")

    def __enter__(self):
        for attempt in range(5): # somebody may take a port in between
            self.port = free_port()
            if self.port > 60000:
                continue
            try:
                self.brokers = kafka_sh("up", self.dir, self.port, self.nodes, env=self.env)
                break
            except AssertionError:
                kafka_sh("down", self.dir)
                if attempt == 4:
                    raise
        from confluent_kafka.admin import AdminClient
        self.admin = AdminClient({"bootstrap.servers": self.brokers, **QUIET})
        return self

    def __exit__(self, *_):
        kafka_sh("down", self.dir, "rm")

    def signal(self, node, name):
        kafka_sh("signal", self.dir, node, name)

    def start(self, node):
        kafka_sh("start", self.dir, node, env=self.env)

    def start_all(self):
        """Those that are down, at the same time."""
        kafka_sh("up", self.dir, self.port, self.nodes, env=self.env)

    def stop(self, node):
        """In order: it hands over what it leads."""
        kafka_sh("stop", self.dir, node)

    def open_transactions(self):
        """What readers of committed messages wait for, by Kafka's own tool: its lines."""
        lines = self.tool("TransactionsCommand", "list").splitlines()
        return [line for line in lines[1:] if not {"Empty", "CompleteCommit", "CompleteAbort"} & set(line.split())]

    def tool(self, name, *arguments):
        """Kafka's own: TransactionsCommand, ..."""
        return kafka_sh("tool", f"org.apache.kafka.tools.{name}", "--bootstrap-server", self.brokers, *arguments)

    def create(self, topic, partitions=1, **config):
        from confluent_kafka.admin import NewTopic
        for future in self.admin.create_topics([NewTopic(topic, partitions, config={k.replace("_", "."): str(v) for k, v in config.items()})]).values():
            future.result(60 * WAITS)
        wait_for(f"leaders of {topic}", lambda: self.leaders(topic) == partitions)

    def leaders(self, topic):
        found = self.admin.list_topics(topic, timeout=30 * WAITS).topics.get(topic)
        return found and not found.error and sum(p.leader >= 0 for p in found.partitions.values())

    def leader(self, topic, partition):
        """The node, or -1."""
        return self.admin.list_topics(topic, timeout=30 * WAITS).topics[topic].partitions[partition].leader

    def wait_in_sync(self):
        """All replicas of all partitions are there again."""
        def there():
            topics = self.admin.list_topics(timeout=30 * WAITS).topics.values()
            return all(len(p.isrs) == len(p.replicas) and p.leader > 0 for topic in topics for p in topic.partitions.values())
        wait_for("replicas in sync", there, 120)

    def elect(self, topic, partition):
        """Makes the partition's preferred replica its leader, if it is another one."""
        from confluent_kafka import ElectionType, KafkaException, TopicPartition
        try:
            self.admin.elect_leaders(ElectionType.PREFERRED, [TopicPartition(topic, partition)]).result(60 * WAITS)
        except KafkaException as why:
            assert "ELECTION_NOT_NEEDED" in str(why), why

    def add_partitions(self, topic, total):
        from confluent_kafka.admin import NewPartitions
        for future in self.admin.create_partitions([NewPartitions(topic, total)]).values():
            future.result(60 * WAITS)

    def delete(self, topic):
        for future in self.admin.delete_topics([topic]).values():
            future.result(60 * WAITS)

    def delete_before(self, topic, partition, offset):
        """As retention does."""
        from confluent_kafka import TopicPartition
        for future in self.admin.delete_records([TopicPartition(topic, partition, offset)]).values():
            future.result(60 * WAITS)

    def producer(self, **config):
        from confluent_kafka import Producer
        return Producer({"bootstrap.servers": self.brokers, "linger.ms": 5, **QUIET, **{k.replace("_", "."): v for k, v in config.items()}})

    def produce(self, topic, records):
        """records: of (partition, key, value[, timestamp_ms[, headers]])."""
        producer, failed = self.producer(), []
        for record in records:
            partition, key, value = record[:3]
            more = dict(zip(("timestamp", "headers"), record[3:]))
            while True:
                try:
                    producer.produce(topic, value, key, partition, on_delivery=lambda e, _: e and failed.append(e), **more)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(60 * WAITS) == 0 and not failed, failed

    def committed(self, group, topic, partitions):
        from confluent_kafka import Consumer, TopicPartition
        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": group, **QUIET})
        found = consumer.committed([TopicPartition(topic, p) for p in range(partitions)], timeout=30 * WAITS)
        consumer.close()
        return [p.offset for p in found]

    def ends(self, topic, isolation):
        """Behind the last message that such a reader is given, by partition: with read_committed the last stable offset."""
        from confluent_kafka import Consumer, TopicPartition
        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": "kit", "isolation.level": isolation, **QUIET})
        partitions = sorted(consumer.list_topics(topic, timeout=30 * WAITS).topics[topic].partitions)
        found = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30 * WAITS)[1] for p in partitions]
        consumer.close()
        return found

    def read(self, topic, isolation="read_committed", until=None, timeout_s=30):
        """All messages, by partition in their order; with `until` waits until so many are there."""
        from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": "kit", "isolation.level": isolation, "enable.auto.commit": False,
                             "enable.partition.eof": True, "fetch.wait.max.ms": 50, **QUIET})
        partitions = sorted(consumer.list_topics(topic, timeout=30 * WAITS).topics[topic].partitions)
        found, ended, deadline = {p: [] for p in partitions}, set(), time.monotonic() + timeout_s * WAITS
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
        while len(ended) < len(partitions) or (until and sum(map(len, found.values())) < until):
            assert time.monotonic() < deadline, f"{topic}: {sum(map(len, found.values()))} messages of {until} in {timeout_s} s"
            for message in consumer.consume(1000, 0.2):
                if message.error():
                    assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                    ended.add(message.partition())
                else:
                    ended.discard(message.partition())
                    found[message.partition()].append(message)
        consumer.close()
        return found


class Registry:
    """with Registry() as registry: one of its own, gone at the end."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="weir-registry-")
        self.port = free_port()

    def __enter__(self):
        done = subprocess.run([REGISTRY_SCRIPT, "up", self.dir, str(self.port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=600 * WAITS,
                              env=dict(os.environ, REGISTRY_WAIT=str(int(120 * WAITS))))
        assert done.returncode == 0, done.stderr
        self.url = done.stdout.strip()
        return self

    def __exit__(self, *_):
        subprocess.run([REGISTRY_SCRIPT, "down", self.dir, "rm"], timeout=60 * WAITS, check=True)

    def ask(self, path, body=None, method=None):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode() if body else None,
                                         {"Content-Type": "application/vnd.schemaregistry.v1+json"}, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30 * WAITS) as answer:
            return json.load(answer)

    def register(self, subject, schema, references=()):
        return self.ask(f"/subjects/{subject}/versions", {"schema": json.dumps(schema), "references": list(references)})["id"]
