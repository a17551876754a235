#!/usr/bin/env python3
"""The `weir` command on a terminal: the line of progress, colours, widths; and that nothing of these is anywhere else."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from weir_test import JOBS, PATIENCE, WEIR, Cluster, look_for_reports, main, wait_for

FAULTS = os.path.join(JOBS, "faults.so")
ENDLESS = ("--rows", "1000000000", "--rate", "50000")
ESCAPE = "\x1b["


class Terminal:
    """with Terminal("list", width=80) as terminal: the command with a terminal as its standard input, output and error."""

    def __init__(self, *arguments, width=120, env=None, stdout=None):
        self.arguments, self.width, self.env, self.stdout = arguments, width, env or {}, stdout
        self.text = ""

    def __enter__(self):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, self.width, 0, 0))
        environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        environment.update({"TERM": "xterm", "WEIR_REST": "", **self.env})
        self.process = subprocess.Popen([WEIR, *self.arguments], stdin=slave, stdout=self.stdout or slave, stderr=slave,
                                        env=environment, start_new_session=True)
        os.close(slave)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        look_for_reports("weir on a terminal", self.text)

    def read(self):
        """What has come so far."""
        while select.select([self.master], [], [], 0.05)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError: # its other end is closed
                break
            if not data:
                break
            self.text += data.decode(errors="replace")
        return self.text

    def wait_text(self, pattern, timeout_s=30):
        def look():
            ended = self.process.poll() is not None # before the last read
            found = re.search(pattern, self.read())
            assert found or not ended, f"no {pattern!r} in: {self.text!r}"
            return found
        return wait_for(f"{pattern!r} on the terminal", look, timeout_s)

    def wait_end(self, timeout_s=30):
        deadline = time.monotonic() + timeout_s * PATIENCE
        while self.process.poll() is None:
            self.read()
            assert time.monotonic() < deadline, f"no end; there is {self.text!r}"
        self.read()
        return self.process.returncode


def lines_of_progress(text):
    """The states of the line that is written over, without its colours."""
    pieces = re.findall(r"\r\x1b\[K([^\r\n]*)", text)
    return [re.sub(r"\x1b\[[0-9;]*m", "", piece) for piece in pieces if "tasks, in" in piece]


def number(text):
    return int(text.replace(",", ""))


def test_the_line_of_progress_counts_and_goes():
    with Cluster(slots=2) as cluster, Terminal("run", FAULTS, *ENDLESS, env=cluster.env) as terminal:
        terminal.wait_text(r"2/2 tasks, in [1-9][0-9,]* \([1-9][0-9.]* ?[kM]?/s\)")
        first = len(lines_of_progress(terminal.text))
        terminal.wait_text(r"watermark 1970-01-01")
        wait_for("more lines", lambda: len(lines_of_progress(terminal.read())) > first + 1)
        shown = lines_of_progress(terminal.text)
        counts = [number(re.search(r"in ([0-9,]+)", line).group(1)) for line in shown]
        assert counts == sorted(counts) and counts[-1] > 0, shown
        seconds = [line.split(",")[0] for line in shown] # about one a second, however slow the machine
        assert max(map(seconds.count, seconds)) <= 2, shown
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.wait_end() == 0
        assert re.search(r"\r\x1b\[Kweir: detached; the job goes on\. Cancel it with: weir cancel [0-9a-f]{32}", terminal.text), terminal.text
        assert "\x1b[32mRUNNING\x1b[0m" in terminal.text


def test_a_narrow_terminal_gets_a_line_that_does_not_wrap():
    with Cluster(slots=1) as cluster, Terminal("run", FAULTS, *ENDLESS, env=cluster.env, width=40) as terminal:
        terminal.wait_text(r"1/2 tasks|2/2 tasks|0/2 tasks")
        wait_for("progress", lambda: len(lines_of_progress(terminal.read())) > 2)
        assert all(len(line) < 40 for line in lines_of_progress(terminal.text)), terminal.text
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.wait_end() == 0


def test_a_local_job_shows_progress_unless_it_prints_there():
    with Terminal("run", "--local", FAULTS, *ENDLESS) as terminal:
        terminal.wait_text(r"2/2 tasks, in [1-9][0-9,]* \([1-9]")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.wait_end() == 1
        assert "CANCELED" in terminal.text
    telemetry = os.path.join(os.path.dirname(JOBS), os.pardir, "examples", "host-telemetry.so")
    with Terminal("run", "--local", telemetry, "--samples", "2", "--window", "1 s") as terminal:
        assert terminal.wait_end() == 0
        assert "window_end" in terminal.text and not lines_of_progress(terminal.text), terminal.text


def test_elsewhere_than_on_a_terminal_there_is_no_such_line_and_no_colour():
    with Cluster(slots=1) as cluster:
        done = cluster.weir("run", FAULTS, "--rows", "1000")
        assert ESCAPE not in done.stdout + done.stderr and "\r" not in done.stderr, done.stderr
        assert "weir: RUNNING\n" in done.stderr and "FINISHED" in done.stderr, done.stderr
        for command in ("list", "taskmanagers", "config"):
            assert ESCAPE not in cluster.weir(command, *(["-a"] if command == "list" else [])).stdout


def test_colours_are_those_of_a_terminal_that_wants_them():
    with Cluster(slots=1) as cluster:
        job = cluster.submit(FAULTS, "--rows", "10", options=("--name", "ended"))
        cluster.wait_state(job, "FINISHED")
        for arguments, env, colored in (((), {}, True), (("--no-color",), {}, False), ((), {"NO_COLOR": "1"}, False),
                                        ((), {"NO_COLOR": ""}, True), ((), {"TERM": "dumb"}, False), (("-o", "json"), {}, False)):
            with Terminal("list", "-a", *arguments, env={**cluster.env, **env}) as terminal:
                assert terminal.wait_end() == 0 and "FINISHED" in terminal.text, terminal.text
                assert (ESCAPE in terminal.text) == colored, (arguments, env, terminal.text)
        with Terminal("lits") as terminal: # standard error has its own
            assert terminal.wait_end() == 2 and "\x1b[1;31mweir:\x1b[0m unknown command" in terminal.text, terminal.text
        with open(cluster.path("out"), "w") as out, Terminal("list", "-a", env=cluster.env, stdout=out) as terminal:
            assert terminal.wait_end() == 0
        assert ESCAPE not in open(cluster.path("out")).read()


def test_tables_fit_the_terminal_and_are_whole_elsewhere():
    name = "a-name-that-is-much-longer-than-what-is-left-" + "x" * 60
    with Cluster(slots=1) as cluster:
        job = cluster.submit(FAULTS, "--rows", "10", options=("--name", name))
        cluster.wait_state(job, "FINISHED")
        with Terminal("list", "-a", "--no-color", env=cluster.env, width=110) as terminal:
            terminal.wait_end()
            head, row = terminal.text.replace("\r", "").splitlines()
            assert len(row) == 110 and row.endswith(">") and job in row, row
            assert head.index("NAME") == row.index("a-name"), terminal.text
        piped = cluster.weir("list", "-a").stdout.splitlines()
        assert name in piped[1], piped
        assert all(line == line.rstrip() for line in piped), piped


def test_what_others_named_does_not_reach_the_terminal_as_commands():
    """A job's name is anybody's: escape sequences in it are not passed on."""
    with Cluster(slots=1) as cluster:
        upload = cluster.weir("run", "-d", "--name", "bell\x07 and \x1b[2J", FAULTS, "--rows", "10")
        if upload.returncode == 0: # else the JobManager refuses it, which is as good
            said = cluster.weir("list", "-a").stdout
            assert "\x07" not in said and "\x1b" not in said, repr(said)
        assert "\x1b" not in upload.stderr, repr(upload.stderr)
        said = cluster.weir("cancel", "no \x1b[31mjob\x07").stderr
        assert "\x1b" not in said and "\x07" not in said and "no ?[31mjob?" in said, repr(said)


if __name__ == "__main__":
    main(globals())
