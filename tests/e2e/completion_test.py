#!/usr/bin/env python3
"""Completion: what `weir __complete` offers, and that each shell's script brings it to the prompt."""
import os
import re
import shutil
import tempfile

from weir_test import JOBS, WEIR, Cluster, main, run

FAULTS = os.path.join(JOBS, "faults.so")
BIN = os.path.dirname(WEIR)


def offered(*words, env=None):
    done = run(WEIR, "__complete", *words, env={"WEIR_HOME": "/nonexistent", "WEIR_REST": "", **(env or {})})
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout.splitlines()


def test_commands_options_and_their_values():
    commands = re.findall(r"^  ([a-z]+) ", run(WEIR, "help").stdout, re.M)
    assert offered("") == commands and "run" in commands
    assert offered("clu") == ["cluster"] and offered("help", "lo") == ["logs"]
    assert offered("nosuch", "") == [] and offered("list", "") == []
    for command in commands: # every option of its help, and no other
        said = re.findall(r"^  (?:(-\w), )?(--[a-z-]+)|^  (-\w) ", run(WEIR, "help", command).stdout, re.M)
        expected = sorted(name for names in said for name in names if name)
        assert sorted(offered(command, "-")) == expected, command
    assert offered("list", "--al") == ["--all"]
    assert offered("-o", "j") == ["json"] and offered("list", "--output=j") == ["--output=json"] and offered("list", "-oj") == ["-ojson"]
    assert offered("new", "--template", "") == ["window", "function"] and offered("new", "") == []
    assert offered("cluster", "") == ["start", "stop", "status"] and offered("cluster", "start", "") == []
    assert offered("completion", "") == ["bash", "zsh", "fish"]


def test_configuration_keys_and_values():
    keys = re.findall(r"^([a-z][\w.-]+):", run(WEIR, "config", "--local", env={"WEIR_HOME": "/nonexistent"}).stdout, re.M)
    assert len(keys) > 30 and set(keys) <= set(offered("config", ""))
    assert offered("run", "-D", "rest.po") == ["rest.port="] and offered("run", "-Drest.po") == ["-Drest.port="]
    assert offered("cluster", "start", "-D", "security.insecure=") == ["security.insecure=true", "security.insecure=false"]
    assert offered("cluster", "start", "-D", "restart-strategy.type=f") == ["restart-strategy.type=fixed-delay", "restart-strategy.type=failure-rate"]
    assert offered("cluster", "start", "-D", "rest.port=") == []


def test_files_and_a_jobs_own_arguments():
    assert offered("run", "") == [":files"] and offered("run", "-p", "4", "jo") == [":files"]
    assert offered("run", "job.so", "--") == [":files"] # what follows is the job's
    assert offered("run", "--config", "x") == [":files"]


def test_jobs_and_taskmanagers():
    with Cluster(slots=2) as cluster:
        env = cluster.env
        first = cluster.submit(FAULTS, "--rows", "1000000000", "--rate", "10", options=("--name", "long"))
        ended = cluster.submit(FAULTS, "--rows", "1", options=("--name", "two words"))
        cluster.wait_state(ended, "FINISHED")
        assert sorted(offered("metrics", "", env=env)) == sorted([first, "long", ended])
        assert sorted(offered("cancel", "", env=env)) == sorted([first, "long"])
        assert offered("exceptions", ended[:6], env=env) == [ended] and offered("exceptions", ended, "", env=env) == []
        assert set(offered("logs", "", env=env)) == {"taskmanager", first, "long", ended}
        taskmanager = cluster.rest("/taskmanagers")[1]["taskmanagers"][0]["id"]
        assert offered("logs", "taskmanager", "", env=env) == [taskmanager]
        assert offered("logs", first, "", env=env) == []
        assert offered("-m", f"127.0.0.1:{cluster.port}", "cancel", "lo") == ["long"]
        assert offered("cancel", "-m", f"127.0.0.1:{cluster.port}", "lo") == ["long"]
    assert offered("cancel", "", env={"WEIR_REST": "127.0.0.1:1"}) == [] # nobody is there: nothing, and at once


# --- The shells

def in_shell(*command, script):
    directory = tempfile.mkdtemp(prefix="weir-e2e-shell-")
    try:
        path = os.path.join(directory, "weir.completion")
        done = run(WEIR, "completion", command[0])
        assert done.returncode == 0 and done.stdout, done
        open(path, "w").write(done.stdout)
        done = run(*command, script.replace("SCRIPT", path), cwd=directory,
                   env={"PATH": BIN + ":" + os.environ["PATH"], "HOME": directory, "WEIR_HOME": "/nonexistent", "WEIR_REST": ""})
        assert done.returncode == 0 and done.stderr == "", done
        return done.stdout.splitlines()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


LINES = ("weir clu", "weir cluster st", "weir run -D rest.po", "weir list --al")
EXPECTED = ["cluster", "start stop status", "rest.port=", "--all"]


def test_bash():
    script = "source SCRIPT; for line in 'weir clu' 'weir cluster st' 'weir run -D rest.po' 'weir list --al'; do " \
             "COMP_WORDS=($line) COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _weir; echo ${COMPREPLY[@]}; done"
    assert in_shell("bash", "-c", script=script) == EXPECTED
    # As bash takes words apart at = and :, and puts only the last piece in.
    for words, expected in (("weir cluster start -D security.insecure = t", "true"), ("weir list --output = j", "json"),
                            ("weir list -m 127.0.0.1 : 80 --al", "--all"), ("weir cluster start -D security.insecure =", "true false")):
        script = f"source SCRIPT; COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _weir; echo ${{COMPREPLY[@]}}"
        assert in_shell("bash", "-c", script=script) == [expected], words
    assert in_shell("bash", "-c", script="source SCRIPT; complete -p weir") == ["complete -F _weir weir"]


def test_zsh():
    script = "compdef() { }; compadd() { while [[ $1 != -- ]]; do shift; done; shift; print -- $@ }; source SCRIPT; " \
             "for line in 'weir clu' 'weir cluster st' 'weir run -D rest.po' 'weir list --al'; do " \
             "words=(${(s: :)line}); CURRENT=${#words}; _weir; done"
    assert in_shell("zsh", "-fc", script=script) == EXPECTED


def test_fish():
    for line, expected in zip(LINES, EXPECTED):
        assert sorted(in_shell("fish", "-c", script=f"source SCRIPT; complete -C '{line}'")) == sorted(expected.split()), line


if __name__ == "__main__":
    main(globals())
