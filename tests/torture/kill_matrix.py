"""Faults, one after the other, into a job that goes on: at fault points, at what people ask of it (savepoint, stop, drain, rescale, a new job from a
savepoint), on its object store and its disk. Each is counted when it has acted and checkpoints were completed before and after it."""
import collections
import os
import signal
import tempfile
import time

from kill_world import PATIENCE, WAITS, link_all, wait_for

# Steps that a running job does not pass by itself: something else has to fail first.
AFTER_A_FAILURE = ("executor.restore-", "executor.deploy-", "executor.starting", "executor.task-running", "supervisor.start-", "supervisor.executor-spawned",
                   "jobmanager.deploy-", "executor.kafka-fenced")
AFTER_A_JOBMANAGER = ("jobmanager.job-read",)
AFTER_A_TASKMANAGER = ("supervisor.kafka-fenced",)
OF_KAFKA = ("supervisor.kafka-", "executor.kafka-", "executor.complete-received") # the job has none
AT_AN_END = ("executor.task-ended", "jobmanager.job-store")  # only when the job begins or ends
BY_ANOTHER = {"jobmanager.head-get": ("jobmanager.head-put-done", "error")}
RARE = ("jobmanager.garbage-",)
STOP_S, ZOMBIE_S = 0.3, 3.5 * PATIENCE  # a pause; and one beyond every lease and heartbeat
LOCAL_KINDS = ("damaged", "cut", "gone", "mixed up", "those of before")
STORE_KINDS = ("down", "503", "slow", "cut", "lose", "drop")
# What a command is disturbed at: steps that it passes by itself. "run -s" is the new job.
A_CHECKPOINT = ("jobmanager.trigger-send", "jobmanager.trigger-sent", "supervisor.trigger-received", "executor.trigger-received", "executor.barrier-injected",
                "executor.barrier-aligned", "executor.snapshot-captured", "executor.output-synced", "executor.object-put-begun", "executor.object-put-done",
                "executor.report-send", "executor.report-sent", "supervisor.report-received", "supervisor.report-sent", "jobmanager.report-received",
                "jobmanager.report-counted", "jobmanager.metadata-put-begun", "jobmanager.metadata-put-done", "jobmanager.head-put-begun",
                "jobmanager.head-put-done", "jobmanager.head-answered", "jobmanager.commit-send", "jobmanager.commit-sent", "supervisor.commit-received",
                "supervisor.commit-begun", "supervisor.commit-file", "supervisor.commit-done", "supervisor.commit-answered", "jobmanager.commit-done")
A_DEPLOYMENT = ("jobmanager.deploy-send", "executor.deploy-received", "executor.restore-begun", "executor.restore-part", "executor.restore-done",
                "executor.task-running")
COMMANDS = {"savepoint": A_CHECKPOINT, "stop": A_CHECKPOINT + ("executor.task-ended",), "stop --drain": A_CHECKPOINT + ("executor.task-ended",),
            "rescale": A_CHECKPOINT + A_DEPLOYMENT,
            "run -s": ("jobmanager.job-store", "jobmanager.head-put-begun", "jobmanager.head-put-done", "supervisor.start-received",
                       "supervisor.executor-spawned", "executor.starting") + A_DEPLOYMENT}
TRY_S, ACT_S = 60 * WAITS, 2 * PATIENCE


def is_stopped(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "T"
    except OSError:
        return False


def change_copy(path, kind):
    size = os.path.getsize(path)
    if kind == "gone":
        os.unlink(path)
    elif kind == "cut":
        os.truncate(path, size // 2)
    else:
        with open(path, "r+b") as file:
            file.seek(size // 2)
            byte = file.read(1)
            file.seek(size // 2)
            file.write(bytes([byte[0] ^ 16]) if byte else b"x")


def mix_up(paths):
    """Each under the name of another: what is of one attempt, checkpoint or subtask, as if it were of another."""
    for i, path in enumerate(paths):
        os.rename(path, f"{os.path.dirname(path)}/.mixed-{i}")
    for i, path in enumerate(paths):
        os.rename(f"{os.path.dirname(path)}/.mixed-{i}", paths[(i + 1) % len(paths)])


class Matrix:
    """Injects faults into a world, one after the other, and keeps the list."""

    def __init__(self, world, rng, say=print):
        self.world, self.rng, self.say = world, rng, say
        self.injected = self.missed = 0
        self.counted = collections.Counter()
        self.recovery_s = [] # seconds from a fault to the next complete checkpoint: (seconds, fault)

    def fault(self, point, kind, nth=1):
        """kinds: kill, stop, zombie (a stop beyond all leases), error, delay, both (the supervisor, and its executors with it)."""
        world = self.world
        points = wait_for("fault points", world.points)
        assert point in points, f"no fault point {point}"
        before = points[point]
        action = {"zombie": "stop", "both": "kill", "delay": f"delay={self.rng.randrange(100, 700)}"}.get(kind, kind)
        nth = 1 if point in BY_ANOTHER or point.startswith(AFTER_A_FAILURE + AFTER_A_JOBMANAGER + AFTER_A_TASKMANAGER + RARE) else nth
        world.arm(f"{point}:{nth}", action)
        if point in BY_ANOTHER:
            world.arm(*BY_ANOTHER[point])
        if point.startswith(AFTER_A_FAILURE):
            for pid in world.executor_pids()[:1]:
                world.signal(pid, signal.SIGKILL)
        if point in AFTER_A_JOBMANAGER:
            world.signal(world.daemons["jobmanager"].pid, signal.SIGKILL)
        if point in AFTER_A_TASKMANAGER:
            for pid in [process.pid for name, process in world.daemons.items() if name.startswith("taskmanager")]:
                world.signal(pid, signal.SIGKILL)
        self.injected += 1
        if action == "stop" and point.startswith("jobmanager."): # it answers nobody meanwhile
            pid = wait_for(f"a stop at {point}", lambda: is_stopped(world.daemons["jobmanager"].pid) and world.daemons["jobmanager"].pid, 40)
            begun = time.monotonic()
            time.sleep(ZOMBIE_S if kind == "zombie" else STOP_S)
            world.signal(pid, signal.SIGCONT)
        acted = wait_for(f"a pass of {point} (to {kind})", lambda: (p := world.points().get(point)) and p["acted"] > before["acted"] and p, 40)
        if not (action == "stop" and point.startswith("jobmanager.")):
            begun = time.monotonic()
        if kind == "both":
            for pid in world.executor_pids():
                world.signal(pid, signal.SIGKILL)
        if action == "stop" and not point.startswith("jobmanager."):
            time.sleep(ZOMBIE_S if kind == "zombie" else STOP_S)
            world.signal(acted["pid"], signal.SIGCONT)
        self.count(f"{point} {kind}", f"pass {nth}, pid {acted['pid']}", begun)

    # --- What people ask of a job, and a fault on the way

    def command(self, point, kind, *arguments):
        """(exit code, output, errors) of a command while a fault acts; it may fail for it. `point` None: no fault."""
        world = self.world
        if point in A_CHECKPOINT and arguments[0] != "run":
            world.wait_checkpoints(1, "before a command") # so that the next one is more likely the command's
        if point:
            world.arm(f"{point}:1", {"zombie": "stop", "delay": f"delay={self.rng.randrange(100, 700)}"}.get(kind, kind))
        process = world.begin(*arguments)
        while process.poll() is None: # it may wait for who is stopped
            self.go_on_after(kind)
            time.sleep(0.02)
        out, err = process.communicate(timeout=120 * WAITS)
        return process.returncode, out.strip(), err.strip()

    def go_on_after(self, kind):
        """True: somebody was stopped, and is not any more."""
        stopped = next((pid for pid in self.world.pids() if is_stopped(pid)), None)
        if stopped:
            time.sleep(ZOMBIE_S if kind == "zombie" else STOP_S)
            self.world.signal(stopped, signal.SIGCONT)
        return stopped is not None

    def has_acted(self, point, kind, before):
        """What a command began may go on when it has ended."""
        deadline = time.monotonic() + ACT_S
        while not self.go_on_after(kind) and time.monotonic() < deadline:
            if (now := self.world.points().get(point)) and now["acted"] > before["acted"]:
                break
            time.sleep(0.02)
        self.go_on_after(kind)
        return wait_for("fault points", lambda: self.world.points().get(point))["acted"] > before["acted"]

    def ask(self, name, point, kind, done, *arguments):
        """Asks until it is done(exit code, output), the first time with a fault. That, and what to count; None: the fault did not act."""
        begun, world = time.monotonic(), self.world
        before = wait_for("fault points", lambda: world.points().get(point))
        self.injected += 1
        code, out, err = self.command(point, kind, *arguments)
        first, acted = code, self.has_acted(point, kind, before)
        if not acted:
            self.missed += 1
            world.disarm()
        result = done(code, out)
        deadline = time.monotonic() + TRY_S
        while not result and time.monotonic() < deadline:
            time.sleep(0.2)
            code, out, err = self.command(None, None, *arguments)
            result = done(code, out)
        assert result, f"{name}, {point} {kind}: exit code {code}, {out} {err}"
        return result, (f"{name}, {point} {kind}", f"exit code {first}", begun) if acted else None

    def settle(self, counted):
        if counted:
            self.count(*counted)
        else:
            self.world.wait_checkpoints(1, "after a fault that did not act")

    def rescale(self, point, kind, parallelism=None):
        """The job from 2 to 3 or back (or to another parallelism), and a fault on the way: the command may fail for it, and is repeated; the job may not."""
        name = f"rescale to {parallelism}" if parallelism else "rescale"

        def now():
            return max(v["parallelism"] for v in wait_for("the job", lambda: self.world.rest(f"/jobs/{self.world.job}", {}).get("vertices")))
        parallelism = parallelism or 5 - now()
        self.settle(self.ask(name, point, kind, lambda code, out: code == 0 or now() == parallelism, "rescale", self.world.job, "--parallelism", parallelism)[1])

    def savepoint(self, point, kind):
        world = self.world
        path, counted = self.ask("savepoint", point, kind, lambda code, out: code == 0 and out, "savepoint", world.job, world.new_savepoint())
        self.settle(counted)
        world.check_state(path)

    def stop(self, point, kind, drain=False):
        """{partition: records} of the savepoint that the job ended with, and its path."""
        world, directory = self.world, self.world.new_savepoint()

        def stopped(code, out):
            if code == 0:
                wait_for("the end of a job that was stopped", world.ended)
            else: # it has ended, or goes on
                more = world.completed() + 2
                wait_for("an end or checkpoints", lambda: world.ended() or world.completed() >= more, 60)
            return world.ended()
        name = "stop --drain" if drain else "stop"
        _, counted = self.ask(name, point, kind, stopped, *name.split(), world.job, "--savepoint", directory)
        made = world.savepoints_in(directory)
        assert made, f"{name}, {point} {kind}: no savepoint in {directory}"
        if counted:
            self.note(*counted)
        checked = [(world.check_state(path, drain), path) for path in made] # a try that failed may have left one, too
        return max(checked, key=lambda one: sum(one[0].values()))

    def restore(self, path, point, kind):
        """A new job that goes on with the savepoint of one that was stopped."""
        world = self.world

        def runs(code, out):
            # A submission that was not acknowledged may have been taken all the same: then it is the job.
            found = set(world.stored()) - set(world.jobs)
            wait_for("the list of jobs", lambda: found <= set(world.listed()))
            assert len(found) <= 1 and (code != 0 or found == {out}), f"one savepoint, and jobs {found} of it; exit code {code}, {out}"
            return found.pop() if found else None
        job, counted = self.ask("run -s", point, kind, runs, *world.run_arguments("-s", path))
        world.is_now(job)
        self.settle(counted)

    # --- Its store, its disk

    def store(self, trouble, proxy, kind):
        self.injected += 1
        begun, before = time.monotonic(), sum(proxy.counts.values())
        trouble.kind = kind
        try:
            wait_for(f"a request that meets {kind}", lambda: sum(proxy.counts.values()) > before + 1)
            time.sleep(0.7)
        finally:
            trouble.kind = None
        self.count(f"store {kind}", f"{sum(proxy.counts.values()) - before} requests", begun)

    def full_disk(self, place):
        """`place`: a small file system."""
        self.injected += 1
        begun, path = time.monotonic(), os.path.join(place, "filler")
        with open(path, "wb", buffering=0) as file:
            while (free := os.statvfs(place).f_bavail * os.statvfs(place).f_frsize) >= 1 << 16:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, free // 2)
                except OSError:
                    break
            file.seek(0, os.SEEK_END)
            until = time.monotonic() + 1
            while time.monotonic() < until: # and what is freed meanwhile
                try:
                    file.write(b"x" * 4096)
                except OSError:
                    time.sleep(0.005)
        os.unlink(path)
        self.count("disk full", "1 s", begun)

    # --- Its local copies of checkpoints

    def local(self, kind):
        """Executors are stopped, the copies on their hosts changed, the executors killed: their successors find what is there now."""
        world = self.world
        self.injected += 1
        with tempfile.TemporaryDirectory(dir=world.home) as aside:
            if kind == "those of before":
                link_all(world.path("data", "local"), aside)
                world.wait_checkpoints(3, f"before local copies are {kind}")
            wait_for("local copies", world.local_copies)
            victims = world.executor_pids()
            for pid in victims:
                world.signal(pid, signal.SIGSTOP)
            begun, found = time.monotonic(), world.local_copies()
            if kind == "those of before": # beside those that are there
                link_all(aside, world.path("data", "local"))
            elif kind == "mixed up":
                mix_up(found)
            else:
                for path in found:
                    change_copy(path, kind)
        for pid in victims:
            world.signal(pid, signal.SIGKILL)
        self.count(f"local copies {kind}", f"{len(found)} files", begun)

    # --- The list

    def note(self, name, how, begun):
        self.counted[name] += 1
        self.say(f"# {self.injected:3} {name} ({how}), {time.monotonic() - begun:.2f} s")

    def count(self, name, how, begun):
        """`begun`: when it acted, or before that."""
        self.world.wait_checkpoints(1, f"after {name}")
        self.recovery_s.append((time.monotonic() - begun, name))
        self.counted[name] += 1
        self.say(f"# {self.injected:3} {name} ({how}), a checkpoint {self.recovery_s[-1][0]:.2f} s after it")

    def summary(self):
        slow = sorted(self.recovery_s) or [(0, "")]
        return (f"{self.injected} faults injected, {sum(self.counted.values())} counted, {len(self.counted)} distinct; from a fault to the next complete checkpoint: "
                f"half within {slow[len(slow) // 2][0]:.2f} s, 99 of 100 within {slow[len(slow) * 99 // 100][0]:.2f} s, all within {slow[-1][0]:.2f} s ({slow[-1][1]})")


class Trouble:
    """What the proxy does to requests, for a while."""

    def __init__(self):
        self.kind = None

    def __call__(self, method, path):
        return {"down": "drop", "503": 503}.get(self.kind, self.kind)
