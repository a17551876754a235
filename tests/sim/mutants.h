/* The planted bugs: X(name, the guard that it removes). The name's prefix says which core. */
#ifndef WEIR_SIM_MUTANTS_H
#define WEIR_SIM_MUTANTS_H

#define WEIR_MUTANT_LIST(X) \
    X(jm_no_window, "commands in flight to one TaskManager are bounded") \
    X(jm_gap_accepted, "a report that overtook an earlier one waits for it") \
    X(jm_report_twice, "a repeated report is acknowledged but has no effect") \
    X(jm_old_register, "a Register of an ended session is refused") \
    X(jm_old_heartbeat, "a heartbeat that was overtaken does not count") \
    X(jm_never_fenced, "a JobManager that is shown a higher epoch stops") \
    X(jm_no_heartbeat_timeout, "a TaskManager without heartbeats is lost") \
    X(jm_deaf_tm_kept, "a TaskManager that acknowledges no command is lost") \
    X(jm_abandon_unheard, "an executor is given up only when its kill was acknowledged") \
    X(jm_no_resend, "unacknowledged commands are sent again") \
    X(jm_foreign_ignored, "an unknown executor that a TaskManager reports is stopped, its slots are taken") \
    X(jm_attempt_reused, "a restarted task has a new attempt number") \
    X(jm_stale_attempt, "a report of an earlier attempt has no effect") \
    X(jm_terminal_reports, "a task that has ended does not change") \
    X(jm_no_cancel_deadline, "a task that does not stop in time costs its executor") \
    X(jm_no_deploy_deadline, "a task that does not start in time costs its executor") \
    X(jm_restart_forever, "fixed-delay restarts are counted") \
    X(jm_no_restart_delay, "a region restarts after the strategy's delay") \
    X(jm_restart_all_regions, "only the failed region restarts") \
    X(jm_finished_not_rerun, "a restarted region runs its finished tasks again") \
    X(jm_restart_before_end, "a region restarts when all its tasks have ended") \
    X(jm_commit_early, "output is committed when all tasks have finished") \
    X(jm_cancel_committing, "a job that publishes its output cannot be cancelled") \
    X(jm_abort_after_commit, "output is not aborted after a commit was sent") \
    X(jm_abort_early, "output is aborted after the job's executors have gone") \
    X(jm_executors_left, "executors are stopped when their job ends") \
    X(jm_failed_at_once, "a job is FAILED when its tasks have ended") \
    X(jm_slot_freed_early, "a slot is free when its executor has gone") \
    X(jm_never_gives_way, "a job that cannot run leaves its slots to one that waits") \
    X(tm_orphans_left, "executors of an earlier boot are killed") \
    X(tm_register_hides_executors, "Register names the executors that still run") \
    X(tm_lease_from_receipt, "the lease counts from when the heartbeat was sent") \
    X(tm_lease_for_strangers, "a session renews the lease of its own executors only") \
    X(tm_no_lease_kill, "an executor without a lease is killed") \
    X(tm_hang_unnoticed, "a silent executor is killed") \
    X(tm_session_without_lease, "a session without acknowledgements ends") \
    X(tm_gap_accepted, "a command that overtook an earlier one waits for it") \
    X(tm_command_twice, "a repeated command is acknowledged but has no effect") \
    X(tm_old_session, "a message of an ended session has no effect") \
    X(tm_old_leader, "a message of a lower leader epoch has no effect") \
    X(tm_no_resend, "unacknowledged reports are sent again") \
    X(tm_exit_unreported, "an executor's end is reported") \
    X(tm_slot_taken, "a taken slot is refused") \
    X(tm_stop_without_end, "an executor that does not stop is killed") \
    X(tm_no_memory_kill, "an executor that uses more memory than its budget is killed")

enum weir_mutant {
    WEIR_MUTANT_none,
#define WEIR_MUTANT_ENUM(name, text) WEIR_MUTANT_##name,
    WEIR_MUTANT_LIST(WEIR_MUTANT_ENUM)
#undef WEIR_MUTANT_ENUM
        WEIR_MUTANTS
};

#endif
