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
    X(jm_aligned_unknown, "sources wait for one of which nothing is known") \
    X(jm_aligned_finished, "a source that has finished holds back nobody") \
    X(jm_aligned_ended, "a source that has ended stands for no other until its executor leaves it out") \
    X(jm_aligned_untold, "an executor that says how far its sources are hears of the others") \
    X(jm_never_gives_way, "a job that cannot run leaves its slots to one that waits") \
    X(jm_in_head_aborted, "a checkpoint that may be in HEAD is not given up") \
    X(jm_restore_undecided, "nothing is deployed while it is not known whether a checkpoint is complete") \
    X(jm_checkpoint_survives, "a checkpoint that HEAD does not name is given up when a region fails") \
    X(jm_ids_unreserved, "HEAD names a bound of checkpoint ids before it is passed") \
    X(jm_part_missing, "a checkpoint is complete with all parts") \
    X(jm_part_twice, "a part that is reported twice counts once") \
    X(jm_late_root_forgotten, "a task whose producers have finished meanwhile makes its own barrier") \
    X(jm_skipped_barrier, "a task that has finished without a barrier that it gave up is no part of that checkpoint") \
    X(jm_head_before_metadata, "HEAD names a checkpoint when its metadata is durable") \
    X(jm_commit_before_head, "output is committed when HEAD names its checkpoint") \
    X(jm_older_after_newer, "an older checkpoint does not follow a newer one") \
    X(jm_uncommitted_dropped, "a checkpoint stays in HEAD until its output is published") \
    X(jm_shared_dropped, "an object that a retained checkpoint refers to is not deleted") \
    X(jm_dropped_on_abort, "giving up a checkpoint deletes nothing") \
    X(jm_no_final_checkpoint, "a bounded job ends with a last checkpoint") \
    X(jm_no_terminal_record, "HEAD says that its job has ended") \
    X(jm_head_unknown_is_done, "a write of HEAD without an answer is not taken as done") \
    X(jm_head_condition_is_lost, "a condition that does not hold may be one's own success") \
    X(jm_head_nonce_ignored, "what HEAD says is one's own only by its nonce") \
    X(jm_acknowledged_early, "a submission is acknowledged when its HEAD is durable") \
    X(jm_cancel_unrecorded, "a cancel is acknowledged when HEAD says so") \
    X(jm_attempts_unreserved, "HEAD names a bound of attempts before it is passed") \
    X(jm_attempts_from_one, "a job that is taken over goes on above the attempts that may have run") \
    X(jm_no_fencing, "a job is taken over by a write of HEAD before anything of it is done") \
    X(jm_recovered_unpublished, "what may not be published is published when a job is taken over") \
    X(jm_abort_unrecorded, \
      "output is removed when HEAD says that the job has ended: until then a later JobManager may run it, and a checkpoint may be complete") \
    X(jm_unpromised_run, \
      "a job without checkpoint of which nobody has said that it outlives its JobManager is not run again") \
    X(jm_listed_once, "a job that a replaced JobManager accepted late is found") \
    X(jm_refused_forgotten, "what was stored of a submission that was refused goes") \
    X(jm_base_dropped, "what a checkpoint under way may build on is kept") \
    X(jm_no_grace, "what nothing refers to goes after a grace") \
    X(jm_swept_released, "what HEAD has just stopped naming waits for its grace, also when a search finds it") \
    X(jm_left_forgotten, "what a job has gone back from waits for its grace, too") \
    X(jm_sweep_unfixed, "a search judges by HEAD's floor of a grace ago") \
    X(jm_never_swept, "a job is searched when it was taken over, when it has ended, and now and then") \
    X(jm_first_page_only, "a search goes through all pages of a listing") \
    X(jm_ended_unpublished_dropped, "a job that has ended keeps checkpoints whose output is not published") \
    X(jm_finished_swept, "the last snapshot of a task that has finished is kept while its attempt is the newest") \
    X(jm_first_log_left, "output that waited for the first checkpoint goes also when there never was one") \
    X(jm_swept_above_floor, "what a listing finds is garbage only below HEAD's floor") \
    X(jm_damaged_at_once, "what HEAD names and is missing is looked for again, with HEAD") \
    X(jm_rescale_unrecorded, "a rescale is complete when HEAD has the new parallelism") \
    X(jm_rescale_finished, \
      "a rescale whose tasks have run is complete, also when they have come to their end before HEAD has them") \
    X(jm_beside_savepoint, "no checkpoint begins beside a savepoint") \
    X(jm_stop_ends_twice, "no other checkpoint follows the last one of a job that was stopped") \
    X(jm_output_floods, "output waits while a TaskManager has as many commands as are sent at a time") \
    X(jm_export_skipped, "a savepoint is complete when its copy is") \
    X(jm_savepoint_refers, "a savepoint refers to nothing outside it") \
    X(jm_stop_unpublished, "a stop publishes all output before the job has ended") \
    X(jm_halted_kept, "tasks that have halted for a stop or rescale that failed begin again") \
    X(jm_halted_triggered, "tasks that have halted make no checkpoint") \
    X(jm_drain_forgets_readers, "readers of splits are told to end, too") \
    X(jm_drain_goes_on, "a drain ends when a region fails on the way") \
    X(jm_rescale_before_end, "the tasks of a job become others when none of the old ones is left") \
    X(jm_rescale_attempt_reused, "the tasks of another plan have attempts that nobody had") \
    X(jm_restored_by_subtask, "keyed state goes to whoever has its key groups now") \
    X(jm_unfit_accepted, "state by subtask is restored by as many of them only") \
    X(jm_import_unnamed, "the first HEAD of a job names what it begins with") \
    X(jm_import_id_reused, "ids go on above that of what a job begins with") \
    X(jm_import_unpublished, "output that is pending in what a job begins with is published") \
    X(jm_import_output_owned, "output in a log that is pending in what a job begins with stays the other job's") \
    X(jm_output_unordered, "output in a log says what comes before it in its sink") \
    X(jm_claimed_at_once, "a claimed savepoint goes when the job has a checkpoint of its own") \
    X(jm_unclaimed_dropped, "a savepoint that is not claimed is never deleted") \
    X(jm_fallback_repeats, "a job does not go back behind output that may be published") \
    X(jm_fallback_never, "a job goes back from a damaged checkpoint without output") \
    X(jm_fallback_too_far, "only the newest checkpoint is gone back from") \
    X(jm_failed_shown_complete, "a checkpoint that failed is shown as one") \
    X(kafka_read_before_fence, "the marker is read when its transactional id is fenced") \
    X(kafka_end_unasked, "markers are read to the high watermark, also those behind others' open transactions") \
    X(kafka_first_marker, "the last marker counts") \
    X(kafka_marker_ignored, "what the marker says is written is not written again") \
    X(kafka_published_again, "segments that an earlier checkpoint has published are left out") \
    X(kafka_unknown_is_done, "a commit without an answer is not taken as done") \
    X(kafka_handle_kept, "a handle that has failed is worth nothing any more") \
    X(kafka_early, "output that another job began with follows what comes before it") \
    X(kafka_part_is_whole, "a checkpoint that is written in part is not written") \
    X(kafka_later_is_whole, "what another job writes with a later checkpoint is not written while that is in part") \
    X(kafka_parts_from_one, "parts that are written are not written again") \
    X(jm_complete_before_head, "who holds transactions open is told when HEAD names the checkpoint") \
    X(kafka_held_again, "what a holder has committed is not written again") \
    X(kafka_before_forgotten, "what is left of a checkpoint is cut into the same parts as the rest was") \
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
