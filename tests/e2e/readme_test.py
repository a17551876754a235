#!/usr/bin/env python3
"""The README's first job: its code is extracted, compiled and run by the README's own commands."""
import os
import re
import shutil
import tempfile

from weir_test import BUILD, ROOT, main, run


def blocks(language):
    text = open(os.path.join(ROOT, "README.md")).read()
    return re.findall(r"```" + language + r"\n(.*?)```", text, re.S)


def test_first_job():
    code, = blocks("c")
    compile_and_run, cluster = blocks("sh")[1:3]
    directory = tempfile.mkdtemp(prefix="weir-e2e-")
    try:
        open(os.path.join(directory, "hello.c"), "w").write(code)
        script = compile_and_run.replace("$PWD/build", BUILD)
        environment = {"WEIR_HOME": os.path.join(directory, "home"), "WEIR_REST": ""}
        done = run("bash", "-ec", script, cwd=directory, env=environment)
        assert done.returncode == 0, done.stderr
        rows = [line for line in done.stdout.splitlines() if line.startswith("+I[")]
        assert len(rows) > 10, done.stdout + done.stderr
        export = script.splitlines()[0]
        try:
            done = run("bash", "-ec", export + "\n" + cluster, cwd=directory, env=environment)
        finally:
            run("bash", "-c", export + "; weir cluster stop", cwd=directory, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "FINISHED" in done.stdout, done.stdout
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main(globals())
