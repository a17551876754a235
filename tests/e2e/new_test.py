#!/usr/bin/env python3
"""weir new: every template builds without a warning, passes its own test, and runs on a cluster; what cannot be made is refused."""
import contextlib
import json
import os
import re
import shutil
import tempfile

from weir_test import BUILD, WEIR, Cluster, main, run

TEMPLATES = ("window", "function", "state")
DONE, FAILED, USAGE = range(3)


@contextlib.contextmanager
def folder():
    directory = tempfile.mkdtemp(prefix="weir-e2e-new-")
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def environment(home):
    return {"PATH": os.path.join(BUILD, "bin") + ":" + os.environ["PATH"], "WEIR_HOME": home, "WEIR_REST": "",
            "PKG_CONFIG_PATH": os.path.join(BUILD, "lib", "pkgconfig"), "MAKEFLAGS": "", "MAKELEVEL": ""}


def make(directory, *arguments, **env):
    return run("make", *arguments, cwd=directory, env={**environment(os.path.join(directory, "home")), **env})


def test_every_template_builds_and_passes_its_test():
    for template in TEMPLATES:
        with folder() as directory:
            done = run(WEIR, "new", "my-job", "--template", template, cwd=directory)
            assert done.returncode == DONE and "cd my-job && make && make test" in done.stdout, done
            job = os.path.join(directory, "my-job")
            assert sorted(os.listdir(job)) == sorted([".gitignore", "Makefile", "README.md", "expected.jsonl", "input.jsonl", "job.c",
                                                      "test.sh"])
            for name in os.listdir(job):
                text = open(os.path.join(job, name)).read()
                assert "@NAME@" not in text and "TEMPLATE_IDENT" not in text and "@RESULT@" not in text, name
            assert "WEIR_JOB(my_job)" in open(os.path.join(job, "job.c")).read()
            built = make(job, CFLAGS="-O2 -Werror -Wshadow")
            assert built.returncode == 0 and "warning" not in built.stderr, built.stderr
            tested = make(job, "test")
            assert tested.returncode == 0 and "lines as expected" in tested.stdout, tested.stdout + tested.stderr
            shown = make(job, "run")
            assert shown.returncode == 0 and len([line for line in shown.stdout.splitlines() if line.startswith("{")]) >= 4, shown


def test_its_test_can_fail():
    with folder() as directory:
        run(WEIR, "new", "my_job", cwd=directory)
        job = os.path.join(directory, "my_job")
        path = os.path.join(job, "job.c")
        text = open(path).read()
        assert "AVG(celsius)" in text
        open(path, "w").write(text.replace("AVG(celsius)", "MAX(celsius)"))
        tested = make(job, "test")
        assert tested.returncode != 0 and "-{" in tested.stdout and "+{" in tested.stdout, tested.stdout + tested.stderr


def test_the_readmes_commands_run_it_on_a_cluster():
    with Cluster(slots=1) as cluster, folder() as directory:
        run(WEIR, "new", "my_job", cwd=directory)
        job = os.path.join(directory, "my_job")
        assert make(job).returncode == 0
        commands = re.findall(r"^    (weir run .*)$", open(os.path.join(job, "README.md")).read(), re.M)
        assert len(commands) == 1, commands
        done = run("bash", "-ec", commands[0], cwd=job, env=environment(cluster.home))
        assert done.returncode == 0 and "FINISHED" in done.stderr, done.stderr
        rows = [line for name in os.listdir(os.path.join(job, "out", "windows")) if name.startswith("part-")
                for line in open(os.path.join(job, "out", "windows", name))]
        assert sorted(rows) == sorted(open(os.path.join(job, "expected.jsonl"))), rows


def test_without_the_library_the_makefile_says_what_is_missing():
    with folder() as directory:
        run(WEIR, "new", "my_job", cwd=directory)
        done = make(os.path.join(directory, "my_job"), PKG_CONFIG_PATH="/nonexistent", PKG_CONFIG_LIBDIR="/nonexistent")
        assert done.returncode != 0 and "weir.pc" in done.stderr and "PKG_CONFIG_PATH" in done.stderr, done.stderr


def test_what_cannot_be_made_is_refused():
    with folder() as directory:
        os.mkdir(os.path.join(directory, "there"))
        open(os.path.join(directory, "file"), "w").close()
        for arguments, code, *texts in (
                (("there",), FAILED, "there", "already"),
                (("file",), FAILED, "file", "already"),
                (("no/such/parent",), FAILED, "no/such/parent"),
                (("9lives",), USAGE, "9lives", "beginning with a letter"),
                (("a b",), USAGE, "a b"),
                (("..",), USAGE, ".."),
                (("",), USAGE, "letter"),
                (("/",), USAGE, "letter"),
                (("x" * 65,), USAGE, "at most 64"),
                (("a\nb",), USAGE, "letter"),
                (("job", "--template", "widnow"), USAGE, "widnow", "'window'"),
                ((), USAGE, "usage: weir new")):
            done = run(WEIR, "new", *arguments, cwd=directory)
            assert done.returncode == code and done.stdout == "", (arguments, done)
            assert all(text in done.stderr for text in texts), (arguments, done.stderr)
        assert sorted(os.listdir(directory)) == ["file", "there"] and os.listdir(os.path.join(directory, "there")) == []


def test_paths_and_json():
    with folder() as directory:
        os.mkdir(os.path.join(directory, "jobs"))
        done = run(WEIR, "new", "-o", "json", "jobs/deep/", cwd=directory)
        made = json.loads(done.stdout)
        assert made["directory"] == "jobs/deep" and made["template"] == "window", made
        assert sorted(made["files"]) == sorted(os.listdir(os.path.join(directory, "jobs", "deep")))
        assert "jobs/deep" not in open(os.path.join(directory, "jobs", "deep", "job.c")).read()


def test_a_full_disk_leaves_nothing_half_made():
    """The size of files is limited to less than the Makefile has."""
    with folder() as directory:
        done = run("bash", "-c", f"trap '' XFSZ; ulimit -f 0; exec {WEIR} new my_job", cwd=directory)
        assert done.returncode == FAILED and "cannot write my_job/job.c" in done.stderr, done
        assert os.listdir(directory) == []


if __name__ == "__main__":
    main(globals())
