#!/usr/bin/env python3
"""docs/cli.md says what the command says: every command's help, word for word, and the fields of its JSON."""
import json
import os
import re
import shutil
import subprocess
import tempfile

from weir_test import JOBS, ROOT, WEIR, Cluster, main, run, wait_for

FAULTS = os.path.join(JOBS, "faults.so")
PAGE = os.path.join(ROOT, "docs", "cli.md")


def test_every_commands_help_stands_there():
    """WEIR_UPDATE=1 writes them anew."""
    text = open(PAGE).read()
    head, _, _ = text.partition("\n### weir ")
    commands = re.findall(r"^  ([a-z-]+) ", run(WEIR, "help").stdout, re.M)
    page = head
    for command in commands:
        page += f"\n### weir {command}\n\n```text\n{run(WEIR, 'help', command).stdout}```\n"
    if os.environ.get("WEIR_UPDATE"):
        open(PAGE, "w").write(page)
    assert page == text, "docs/cli.md is not what weir help says; WEIR_UPDATE=1 tests/e2e/cli_docs_test.py writes it anew"


def test_help_lists_nothing_that_does_not_work():
    """Every command has help of its own, every option of it is known, and none of the commands of later days is there."""
    said = json.loads(run(WEIR, "help", "-o", "json").stdout)
    for command in said["commands"]:
        values = {"FORMAT": "json", "N": "1", "KEY=VALUE": "rest.port=1", "NAME=VALUE": "client.id=me", "MODE": "claim"}
        for name in ("short", "long"):
            options = [word for option in command["options"] if option.get(name)
                       for word in (option[name], *([values.get(option["value"], "x")] if option.get("value") else []))]
            done = run(WEIR, command["name"], *options, "--help")
            assert done.returncode == 0, (command["name"], done.stderr)
        assert run(WEIR, command["name"], "--no-such-option").returncode == 2
    names = {command["name"] for command in said["commands"]}
    for later in ("stop", "savepoint", "checkpoint", "rescale", "state", "dlq"):
        if later not in names:
            assert run(WEIR, later).returncode == 2


def fields_of(command):
    """What the table of the page promises, as the path of names from the outside in."""
    row = re.search(rf"^\| `{command}` \| (.*) \|$", open(PAGE).read(), re.M)
    assert row, f"docs/cli.md has no row for {command}"
    return set(re.findall(r"`([\w-]+)`", row.group(1))) - {"--local"}


def names_in(value):
    if isinstance(value, dict):
        return set(value) | {name for inner in value.values() for name in names_in(inner)}
    return {name for inner in value for name in names_in(inner)} if isinstance(value, list) else set()


def check(command, value):
    missing = fields_of(command) - names_in(value)
    assert not missing, f"weir {command} -o json has no {sorted(missing)}: {json.dumps(value)[:2000]}"


def test_the_fields_of_json():
    directory = tempfile.mkdtemp(prefix="weir-e2e-docs-")
    try:
        with Cluster(slots=3) as cluster:
            def parsed(*arguments, code=0):
                done = cluster.weir(arguments[0], "-o", "json", *arguments[1:])
                assert done.returncode == code, done
                if code:
                    assert set(json.loads(done.stderr)["error"]) >= {"code", "exit-code", "message"}, done.stderr
                return json.loads(done.stdout)

            check("run -d", running := parsed("run", "-d", "-D", "execution.checkpointing.interval=1 h", FAULTS,
                                              "--rows", "1000000000", "--rate", "100"))
            failed = parsed("run", "-D", "restart-strategy.type=none", FAULTS, "--fault", "fail", code=1)
            check("run", failed)
            local = run(WEIR, "run", "--local", "-o", "json", "-D", "restart-strategy.type=none", FAULTS, "--fault", "fail")
            check("run", json.loads(local.stdout.splitlines()[-1]))
            check("info", parsed("info", FAULTS))
            check("list", parsed("list"))
            check("exceptions", parsed("exceptions", failed["jobid"]))
            cluster.wait_state(running["jobid"], "RUNNING")
            # Counters come with the first heartbeat after the tasks run.
            wait_for("metrics of operators", lambda: all(v["operators"] for v in parsed("metrics", running["jobid"])["vertices"]))
            check("metrics", parsed("metrics", running["jobid"]))
            check("checkpoint", parsed("checkpoint", running["jobid"]))
            check("savepoint", parsed("savepoint", running["jobid"], cluster.path("savepoints")))
            stopped = parsed("run", "-d", "-D", "execution.checkpointing.interval=1 h", FAULTS, "--rows", "1000000000", "--rate", "100")
            check("stop", parsed("stop", "--savepoint", cluster.path("savepoints"), stopped["jobid"]))
            lines = cluster.weir("logs", running["jobid"], "-o", "json").stdout.splitlines()
            assert lines
            for line in lines:
                check("logs", json.loads(line))
            check("taskmanagers", parsed("taskmanagers"))
            check("config", parsed("config"))
            check("cluster status", parsed("cluster", "status"))
            check("health", parsed("health"))
            check("cancel", parsed("cancel", running["jobid"]))
            check("cluster stop", parsed("cluster", "stop"))
            check("cluster start", parsed("cluster", "start", "-D", "rest.port=0", "-D", "jobmanager.rpc.port=0"))
        made = run(WEIR, "new", "-o", "json", "job", cwd=directory)
        check("new", json.loads(made.stdout))
        security = os.path.join(directory, "security")
        check("security init", json.loads(run(WEIR, "security", "init", "--dir", security, "-o", "json").stdout))
        check("security add", json.loads(run(WEIR, "security", "add", "rack", "--dir", security, "-o", "json").stdout))
        check("eval", [json.loads(line) for line in run(WEIR, "eval", "-o", "json", "1", "x").stdout.splitlines()])
        check("help", json.loads(run(WEIR, "help", "-o", "json").stdout))
        table = re.findall(r"^\| `([a-z -]+)` \| (?:an|a|Flink's|the) ", open(PAGE).read(), re.M)
        assert len(table) >= 19, table
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def test_the_exit_codes_of_the_page():
    rows = dict(re.findall(r"^\| ([0-4]) \| `?([A-Z_]*)`? *\|", open(PAGE).read(), re.M))
    for code, arguments in (("2", ("lits",)), ("3", ("list", "-m", "127.0.0.1:1")), ("4", ("run", "--local", "/nonexistent.so"))):
        done = subprocess.run([WEIR, *arguments[:1], "-o", "json", *arguments[1:]], capture_output=True, text=True, timeout=60)
        error = json.loads(done.stderr)["error"]
        assert done.returncode == error["exit-code"] == int(code) and error["code"] == rows[code], (rows, done)
    assert rows["0"] == "" and rows["1"] == "FAILED"


if __name__ == "__main__":
    main(globals())
