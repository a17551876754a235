"""The identity oracle of Kafka: what somebody who reads committed has seen of a topic. Record number i was written with key k(i % KEYS); each must be
there once, those of a key in order and in one partition, each with its number within its key, which the job counted in its state. What is in the
input more than once (its producer and brokers that were killed can do that) is to be there as often: `lists` has the records of each key as they are there."""
import collections
import json

POLLS = 100 # of 0.2 s, without a step on


class Oracle:
    def __init__(self, keys, lists=None):
        self.keys, self.lists = keys, lists or {}
        self.taken = collections.Counter() # of each key
        self.seen, self.lowest = bytearray(), 0 # of each record, how often (at most 2); all below `lowest` are there
        self.last, self.place = {}, {} # of each key: its last record, and its partition
        self.findings = []

    def take(self, partition, key, value):
        """One message, in the order of its partition."""
        try:
            row = json.loads(value)
            i, n = row["id"], row["n"]
        except (ValueError, KeyError, TypeError):
            self.findings.append(("damaged", partition, value))
            return
        if i >= len(self.seen):
            self.seen.extend(bytes(max(i + 1 - len(self.seen), 4096)))
        at, number = self.taken[key], i // self.keys + 1
        self.taken[key] += 1
        self.seen[i] = min(self.seen[i] + 1, 2)
        known = self.lists.get(key, [])
        if at < len(known):
            number = at + 1
            if i != known[at]:
                self.findings.append(("not as in the input", i, f"is there in the place of {known[at]} of {key!r}"))
        elif self.seen[i] > 1:
            self.findings.append(("doubled", i, f"partition {partition}"))
        elif i < self.last.get(key, -1):
            self.findings.append(("out of order", i, f"comes after {self.last[key]} of {key!r}"))
        else: # so many more as are in the input twice
            number += len(known) - len(set(known))
        if key != f"k{i % self.keys}".encode():
            self.findings.append(("wrong key", i, key))
        if n != number:
            self.findings.append(("wrong state", i, f"is number {n} of its key, not {number}"))
        if self.place.setdefault(key, partition) != partition:
            self.findings.append(("wrong partition", i, f"of {key!r}: {partition}, not {self.place[key]}"))
        self.last[key] = max(i, self.last.get(key, -1))

    def reached(self):
        """How many records from 0 on are there, without a gap."""
        while self.lowest < len(self.seen) and self.seen[self.lowest]:
            self.lowest += 1
        return self.lowest

    def judge(self, written):
        """When all has come: what is wrong, and what is not there."""
        lost = [("lost", i) for i in range(written) if i >= len(self.seen) or not self.seen[i]]
        lost += [("lost", i) for key, known in self.lists.items() for i in known[self.taken[key]:]]
        return self.findings + lost + [("never written", i) for i in range(written, len(self.seen)) if self.seen[i]]


class Reader:
    """Feeds an oracle with what is new in a topic, through whatever happens to its brokers."""

    def __init__(self, kafka, topic, oracle):
        self.kafka, self.topic = kafka, topic
        self.begin(oracle)

    def begin(self, oracle):
        """From the first message on."""
        self.oracle = oracle
        self.next = {} # of each partition: the offset behind what was taken
        self.open()

    def begin_again(self, oracle):
        self.close()
        self.begin(oracle)

    def open(self):
        from confluent_kafka import Consumer, KafkaError, TopicPartition
        self.gone = KafkaError._AUTO_OFFSET_RESET
        self.consumer = Consumer({"bootstrap.servers": self.kafka.brokers, "group.id": "oracle", "isolation.level": "read_committed",
                                  "enable.auto.commit": False, "auto.offset.reset": "error", "fetch.wait.max.ms": 50, "topic.metadata.refresh.interval.ms": 5000,
                                  "log_level": 0})
        partitions = self.consumer.list_topics(self.topic, timeout=60).topics[self.topic].partitions
        self.consumer.assign([TopicPartition(self.topic, p, self.next.get(p, 0)) for p in partitions])
        self.reached = self.polls = 0

    def poll(self):
        for message in self.consumer.consume(5000, 0.2):
            if not message.error():
                self.next[message.partition()] = message.offset() + 1
                self.oracle.take(message.partition(), message.key(), message.value())
            elif message.error().code() == self.gone: # what it has read is not there any more
                self.oracle.findings.append(("taken back", message.partition(), message.error().str()))
        before, self.reached = self.reached, self.oracle.reached()
        self.polls = self.polls + 1 if self.reached == before else 0
        if self.polls > POLLS: # a client that has lost its way to a partition: another one goes on where it was
            self.consumer.close()
            self.open()
        return self.reached

    def close(self):
        self.consumer.close()
