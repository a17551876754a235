/* The fault points, in the order of a checkpoint's way: X(name, can it fail, where). `weir fault list` prints them; tests/tidy_test.py sees that each
 * is in the code and that the code has no other. */
#ifndef WEIR_BASE_FAULT_POINTS_H
#define WEIR_BASE_FAULT_POINTS_H

#define WEIR_FAULT_POINTS(X) \
    /* 1: the trigger, the barrier, the snapshot */ \
    X("jobmanager.trigger-send", false, "a checkpoint's trigger is about to be sent") \
    X("jobmanager.trigger-sent", false, "it is sent") \
    X("supervisor.trigger-received", false, "it came, and is about to be passed on") \
    X("executor.trigger-received", false, "it came to the control thread") \
    X("executor.barrier-injected", false, "a source is about to take the barrier") \
    X("executor.barrier-aligned", false, "a task has the barrier from all its channels") \
    X("executor.snapshot-captured", false, "all operators of a task have captured their state") \
    X("executor.output-synced", true, "what a sink closed at the barrier is durable") \
    /* data objects */ \
    X("executor.object-put-begun", true, "a snapshot's object is about to be written") \
    X("executor.store-put-mid", false, "part of an object is written, none of it can be seen") \
    X("executor.object-put-done", true, "it is written; nobody knows") \
    /* 2, 3: acknowledgements */ \
    X("executor.report-send", false, "a subtask's acknowledgement is about to be sent") \
    X("executor.report-sent", false, "it is sent") \
    X("supervisor.report-received", false, "it came from the executor") \
    X("supervisor.report-sent", false, "it is passed on") \
    X("jobmanager.report-received", false, "it came, and is about to be counted") \
    X("jobmanager.report-counted", false, "it is counted") \
    /* 4: metadata */ \
    X("jobmanager.metadata-put-begun", true, "the metadata object is about to be written") \
    X("jobmanager.store-put-mid", false, "part of an object is written, none of it can be seen") \
    X("jobmanager.metadata-put-done", true, "it is written; the coordinator does not know") \
    /* 5: the commit point */ \
    X("jobmanager.head-put-begun", true, "HEAD is about to be written") \
    X("jobmanager.head-put-done", true, "it is written; the coordinator does not know (error: the reply is lost)") \
    X("jobmanager.head-answered", false, "the coordinator is about to be told") \
    X("jobmanager.head-get", true, "HEAD is about to be read") \
    /* 6, 7: output */ \
    X("jobmanager.commit-send", false, "Commit is about to be sent") \
    X("jobmanager.commit-sent", false, "it is sent") \
    X("executor.complete-received", false, "that a checkpoint is complete came to one with open transactions") \
    X("executor.kafka-fenced", true, "a sink with open transactions has fenced its transactional id") \
    X("executor.kafka-commit-begun", true, "an open transaction is about to get its marker") \
    X("executor.kafka-marked", true, "an open transaction has its marker, and is about to be committed") \
    X("executor.kafka-committed", true, "an open transaction is committed, and nobody knows") \
    X("supervisor.commit-received", false, "it came") \
    X("supervisor.commit-begun", true, "its output is about to be published") \
    X("supervisor.kafka-fenced", true, "a new producer of exactly-once output has fenced its transactional id") \
    X("supervisor.kafka-settled", true, "it is known which open transactions are committed") \
    X("supervisor.kafka-produced", true, "a transaction has its messages, and no marker yet") \
    X("supervisor.kafka-commit-begun", true, "a transaction is about to be committed") \
    X("supervisor.kafka-committed", true, "a transaction is committed, and nobody knows") \
    X("supervisor.commit-file", true, "one of its files is published, the directory not yet durable") \
    X("supervisor.commit-done", true, "its output is published; nobody knows") \
    X("supervisor.commit-answered", false, "the answer is sent") \
    X("jobmanager.commit-done", false, "the answer came, and is about to be counted") \
    X("jobmanager.job-store", true, "a submission's graph and code are about to be stored") \
    X("jobmanager.job-read", true, "a job of an earlier JobManager is about to be read") \
    X("jobmanager.garbage-begun", true, "objects that nothing refers to are about to be deleted") \
    X("jobmanager.garbage-done", false, "they are") \
    /* deployment and restore */ \
    X("jobmanager.deploy-send", false, "a deployment is about to be sent") \
    X("supervisor.start-received", false, "the command to start an executor came") \
    X("supervisor.executor-spawned", false, "its process is started") \
    X("executor.starting", true, "it has its job, and is about to make its threads") \
    X("executor.deploy-received", false, "a deployment came to the executor") \
    X("executor.restore-begun", true, "a task's state is about to be fetched") \
    X("executor.restore-part", true, "one part of it is fetched") \
    X("executor.restore-done", true, "all of it is; the task is not built yet") \
    X("executor.task-running", false, "a task has begun, and is about to be reported RUNNING") \
    X("executor.task-ended", false, "a task has ended, and is about to be reported")

#endif
