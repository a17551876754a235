#!/usr/bin/env python3
"""make demo-kafka in its shortest form; and that its count can fail."""
import os
import re
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from weir_test import BUILD, PATIENCE, ROOT, main  # noqa: E402

sys.path.insert(0, os.path.join(ROOT, "scripts"))
import demo_kafka  # noqa: E402


def counted(sent, results, letters):
    with tempfile.TemporaryDirectory() as directory:
        for name, lines in (("sent", sent), ("results", results), ("letters", letters)):
            with open(os.path.join(directory, name), "w") as file:
                file.writelines(line + "\n" for line in lines)
        return demo_kafka.count(directory)


def test_the_count():
    sent = [f'content\t{i % 3}\t{i}\t{{"id":"content-{i}","title":"a \\"b\\" é"}}' for i in range(50)] + ['creator\t0\t0\t{"id":"cre', 'creator\t0\t1\t"quoted", and then']
    results = [f'content-results\t0\t{i}\t{{"id":"content-{i}","source_partition":{i % 3},"source_offset":{i}}}' for i in range(50)]
    letters = [f'dead-letters\t0\t{i}\t{{"record":"x","topic":"creator","partition":0,"offset":{i}}}' for i in range(2)]
    good = {"in": 52, "out": 52, "dead": 2, "lost": 0, "doubled": 0, "strange": 0}
    assert counted(sent, results, letters) == good
    assert counted(sent, results[:7] + results[8:], letters) == {**good, "out": 51, "lost": 1}
    assert counted(sent, results, letters[:1]) == {**good, "out": 51, "dead": 1, "lost": 1}
    assert counted(sent, results + results[7:8], letters) == {**good, "out": 53, "doubled": 1}
    assert counted(sent, results + ['content-results\t0\t50\t{"source_partition":0,"source_offset":99}'], letters) == {**good, "out": 53, "strange": 1}


def test_the_demo():
    process = subprocess.Popen([os.path.join(ROOT, "scripts", "demo_kafka.py"), "--seconds", "6", "--rate", "100"], env={**os.environ, "BUILD": BUILD}, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    late = threading.Timer(500 * PATIENCE, process.terminate) # then it stops its broker and its cluster
    late.start()
    shown = process.communicate()[0]
    late.cancel()
    assert process.returncode == 0, shown[-5000:]
    numbers = dict(re.findall(r"^ {4,6}([a-z ]+?) +(\d+)$", shown, re.M))
    assert int(numbers["in"]) > 500 and numbers["in"] == numbers["out"] and numbers["lost"] == numbers["doubled"] == "0", numbers
    assert int(numbers["results"]) > 0 and int(numbers["dead letters"]) > 0, numbers
    for words in ("kill -9 of TaskManager 1", "kill -9 of the broker", "DEAD LETTER {", "result      {"):
        assert words in shown, f"no '{words}' in:\n{shown}"


if __name__ == "__main__":
    main(globals())
