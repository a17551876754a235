#!/usr/bin/env python3
"""The JobManager dies and comes back: its TaskManagers notice, stop what nobody leads any more, and serve the next one."""
import json
import os
import signal
import subprocess

from weir_test import BUILD, EXAMPLES, JOBS, Cluster, main, wait_for


def test_a_killed_jobmanager_leaves_no_executor_and_its_taskmanagers_come_back_to_the_next_one():
    with Cluster(taskmanagers=2, slots=1) as cluster:
        job = cluster.submit(os.path.join(JOBS, "faults.so"), "--rows", "100000000", "--rate", "1000", options=("-p", "2"))
        cluster.wait_state(job, "RUNNING")
        wait_for("executors", lambda: len(cluster.executor_pids()) == 2)
        before = json.load(open(cluster.path("run", "jobmanager.json")))
        os.kill(before["pid"], signal.SIGKILL)
        wait_for("end of the executors without a leader", lambda: not cluster.executor_pids())
        again = subprocess.Popen([os.path.join(BUILD, "bin", "weir-jobmanager"), "--name", "jobmanager",
                                  "-D", f"rest.port={before['rest_port']}", "-D", f"jobmanager.rpc.port={before['rpc_port']}",
                                  "-D", f"log.file={cluster.path('logs', 'jobmanager-2.log')}"],
                                 env=dict(os.environ, **cluster.env), stderr=subprocess.DEVNULL)
        try:
            wait_for("the next JobManager", lambda: json.load(open(cluster.path("run", "jobmanager.json")))["pid"] == again.pid)
            wait_for("both TaskManagers", lambda: cluster.rest("/overview")[1]["slots-available"] == 2)
            assert cluster.rest(f"/jobs/{job}")[1]["state"] == "FAILED" # nobody has said that it is to be begun anew
            assert "execution.checkpointing.interval" in str(cluster.root_cause(job))
            job = cluster.submit(os.path.join(JOBS, "faults.so"), "--rows", "1000", options=("-p", "2"))
            cluster.wait_state(job, "FINISHED")
        finally:
            again.terminate()
            again.wait(timeout=20)


def test_what_executors_print_is_bounded():
    with Cluster(taskmanagers=1, slots=1, config={"log.file.max-size": "64 kb"}) as cluster:
        job = cluster.submit(os.path.join(EXAMPLES, "host-telemetry.so"), "--window", "10 ms")
        out = cluster.path("logs", "taskmanager-1.out")
        wait_for("some output", lambda: os.path.exists(out))
        with open(out, "a") as file:
            file.write("x" * 65536 + "\n")
        wait_for("rotation", lambda: os.path.exists(out + ".1") and os.path.getsize(out) < 65536)
        cluster.weir("cancel", job)
        cluster.wait_state(job, "CANCELED")


if __name__ == "__main__":
    main(globals())
