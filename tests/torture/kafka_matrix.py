"""Faults into a job from Kafka to Kafka: those of kill_matrix.py, and of three brokers: their processes, the leader of a partition, the coordinator
of the sink's transactions, an outage that outlasts a transaction, crash after crash with a transaction open, a change of parallelism on the way."""
import collections
import json
import time

from kafka_oracle import Oracle
from kill_matrix import PATIENCE, Matrix, is_stopped, wait_for

PUBLISHING = ("supervisor.commit-received", "supervisor.commit-begun", "supervisor.kafka-produced", "supervisor.kafka-commit-begun",
              "supervisor.kafka-committed", "supervisor.commit-done", "supervisor.commit-answered")
HELD = ("executor.complete-received", "executor.kafka-commit-begun", "executor.kafka-marked", "executor.kafka-committed") # sink.transaction: open
OPEN = PUBLISHING + HELD + ("supervisor.kafka-settled", "executor.kafka-fenced")
IN_A_TRANSACTION = ("supervisor.kafka-produced", "supervisor.kafka-commit-begun")
TRANSACTION_S = 4 # the job's transaction timeout
BROKER_FAULTS = [(which, how) for which in ("coordinator", "leader", "marker") for how in ("kill", "stop", "term")] + \
    [("coordinator", "moved"), ("coordinator", "outlast"), ("two brokers", "kill"), ("two brokers", "stop"), ("all brokers", "kill"), ("all brokers", "outlast")]
PAUSE_S = {"stop": 4.5 * PATIENCE, "outlast": TRANSACTION_S * PATIENCE + 4} # a broker is fenced after 3 s
PARALLELISM = [5, 1, 2]
TRANSACTIONS, MARKERS = "__transaction_state", "weir-progress"


def java_hash(text):
    value = 0
    for letter in text.encode():
        value = (31 * value + letter) & 0xffffffff
    return value - (1 << 32) if value >> 31 else value


class KafkaMatrix(Matrix):
    """`feeder` writes records without end, `reader` has an oracle: a fault counts when all that was written before its end has come out since."""

    def __init__(self, world, rng, kafka, feeder, reader, say=print):
        super().__init__(world, rng, say)
        self.kafka, self.feeder, self.reader, self.rescales = kafka, feeder, reader, 0
        self.id = None # transactional, of the sink

    def count(self, name, how, begun):
        super().count(name, how, begun)
        self.all_comes_out(f"after {name}")
        self.say(f"#     {self.reader.oracle.reached()} records are there {time.monotonic() - begun:.2f} s after it")

    def all_comes_out(self, when):
        written, doubled = self.feeder.count, 0
        while True:
            try:
                wait_for(f"all records {when}", lambda: self.reader.poll() >= written or self.reader.oracle.findings, 300)
            except AssertionError as late:
                raise AssertionError(f"{late}: {self.reader.oracle.reached()} of {written}, {self.world.state()} {self.world.why()}") from None
            if not self.reader.oracle.findings:
                return
            lists = self.input()
            before, doubled = doubled, sum(len(known) - len(set(known)) for known in lists.values())
            if doubled == before: # it is not that
                raise AssertionError(f"{when}: {self.reader.oracle.findings[:10]}; {doubled} records are in the input more than once")
            self.say(f"# {when} {doubled} records are in the input more than once: they are to be in the output as often")
            self.reader.begin_again(Oracle(self.reader.oracle.keys, lists))

    def input(self):
        """The numbers of each key's records, as they are in its partition."""
        lists = collections.defaultdict(list)
        for messages in self.kafka.read("in", timeout_s=120).values():
            for message in messages:
                lists[message.key()].append(json.loads(message.value())["id"])
        return lists

    # --- Brokers

    def coordinator(self):
        """The partition of the transactions' topic that the sink's transactional id belongs to; who leads it is its coordinator."""
        self.id = self.id or self.kafka.read(MARKERS, timeout_s=60)[0][-1].key().decode()
        count = len(self.kafka.admin.list_topics(TRANSACTIONS, timeout=30).topics[TRANSACTIONS].partitions)
        return TRANSACTIONS, abs(java_hash(self.id)) % count

    def victims(self, which):
        nodes = list(range(1, self.kafka.nodes + 1))
        if which in ("two brokers", "all brokers"):
            return self.rng.sample(nodes, 2) if which == "two brokers" else nodes
        topic, partition = {"coordinator": self.coordinator, "leader": lambda: ("out", self.rng.randrange(3)), "marker": lambda: (MARKERS, 0)}[which]()
        return [wait_for(f"a leader of {topic} {partition}", lambda: (n := self.kafka.leader(topic, partition)) > 0 and n)]

    def broker(self, which, how):
        self.injected += 1
        nodes = self.victims(which)
        if how == "moved": # there and back, while all brokers live
            self.kafka.stop(nodes[0])
            self.kafka.start(nodes[0])
            self.kafka.wait_in_sync()
            self.kafka.elect(*self.coordinator())
        elif how == "term":
            self.kafka.stop(nodes[0])
            self.kafka.start(nodes[0])
        elif how == "kill":
            for node in nodes:
                self.kafka.signal(node, "KILL")
            time.sleep(0.5)
            self.kafka.start_all()
        else:
            for node in nodes:
                self.kafka.signal(node, "STOP")
            time.sleep(PAUSE_S[how])
            for node in nodes:
                self.kafka.signal(node, "CONT")
        begun = time.monotonic() # they are back
        self.kafka.wait_in_sync()
        self.count(f"{which} {how}", f"broker {', '.join(map(str, nodes))}", begun)

    # --- What takes longer than a transaction may, or comes again and again

    def outlast(self, point):
        """Whoever has a transaction open sleeps until the coordinator has ended it, and wakes when its work is another's."""
        self.world.arm(f"{point}:1", "stop")
        self.injected += 1
        begun = time.monotonic()
        acted = wait_for(f"a stop at {point}", lambda: next((pid for pid in self.world.pids() if is_stopped(pid)), None), 40)
        time.sleep(TRANSACTION_S * PATIENCE + 2)
        self.go_on_after(None)
        self.count(f"{point} outlast", f"pid {acted}", begun)

    def crash_loop(self, times):
        """A TaskManager dies with a transaction open, its successor too, ..."""
        self.injected += 1
        begun = time.monotonic()
        for _ in range(times):
            point = self.rng.choice(IN_A_TRANSACTION)
            before = wait_for("fault points", lambda: self.world.points().get(point))["acted"]
            self.world.arm(f"{point}:1", "kill")
            wait_for(f"a crash at {point}", lambda: self.world.points().get(point, {"acted": 0})["acted"] > before, 120)
        self.count(f"crash loop {times}", "TaskManagers", begun)

    def rescale(self, point, kind):
        """2, 5, 1, 2, ... and a fault on the way."""
        self.rescales += 1
        super().rescale(point, kind, PARALLELISM[(self.rescales - 1) % len(PARALLELISM)])
