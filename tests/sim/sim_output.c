/* What jobs publish, and what the store has when they have ended. See sim_store.c. */
#include "tests/sim/sim.h"

static bool is_published(const struct job *job, const char *text)
{
    for (int i = 0; i < job->published_count; i++)
        if (strcmp(job->published[i], text) == 0)
            return true;
    return false;
}

struct interval { /* of output, as its committable says */
    int op;
    uint32_t groups;
    uint64_t from, to;
};

static struct interval interval_of(const struct job *job, const char *text)
{
    struct interval interval;
    char last[24];
    int read = sscanf(text, "%d.%" SCNx32 ".%" SCNu64 ".%23[^.]", &interval.op, &interval.groups, &interval.from, last);
    weir_assert(read == 4 && interval.op < job->op_count);
    interval.to = strcmp(last, "end") == 0 ? SIM_END : strtoull(last, NULL, 10);
    return interval;
}

void output_is_visible(struct world *w, struct job *job, uint64_t checkpoint, const char *text)
{
    struct interval interval = interval_of(job, text);
    for (int g = 0; g < SIM_GROUPS; g++) {
        uint64_t *published_to = &job->published_to[interval.op][g];
        if (!(interval.groups >> g & 1))
            continue;
        if (interval.from != *published_to)
            violate(w, interval.from < *published_to ? "output-twice" : "output-lost",
                    "job %.8s group %d: %s is published with checkpoint %" PRIu64 ", what went before ends at %" PRIu64,
                    job->id, g, text, checkpoint, *published_to);
        *published_to = interval.to;
    }
}

void output_must_be_there(struct world *w, const struct job *job, const Weir__Committable *committable)
{
    struct interval interval = interval_of(job, committable->text);
    for (int g = 0; g < SIM_GROUPS; g++)
        if (interval.groups >> g & 1 && job->published_to[interval.op][g] < interval.to)
            violate(w, "output-lost", "job %.8s group %d: %s is called published, what is there ends at %" PRIu64,
                    job->id, g, committable->text, job->published_to[interval.op][g]);
}

bool is_segment_of(const Weir__Committable *committable, const char *key)
{
    for (size_t i = 0; i < committable->n_segments; i++)
        if (strcmp(committable->segments[i]->object, key) == 0)
            return true;
    return false;
}

void segment_must_be_there(struct world *w, const struct job *job, const Weir__Committable *committable)
{
    for (size_t i = 0; i < committable->n_segments; i++)
        if (!store_has(job, committable->segments[i]->object))
            violate(w, "dangling", "job %.8s: %s holds output that waits, and is not there", job->id,
                    committable->segments[i]->object);
}

void store_check_commit(struct world *w, struct job *job, const Weir__CommitOutput *commit)
{
    for (size_t i = 0; i < commit->n_committables; i++) {
        const char *text = commit->committables[i]->text;
        trace(w, "publish %.8s with %" PRIu64 ": %s", job->id, commit->checkpoint, text);
        if (is_published(job, text)) {
            count(w, C_published_again);
            continue;
        }
        if (job->aborted) /* a repeat, by a TaskManager that was slow, does no harm */
            violate(w, "commit-after-abort", "job %.8s: %s", job->id, text);
        output_is_visible(w, job, commit->checkpoint, text);
        if (job->published_count == job->published_capacity) {
            job->published_capacity = job->published_capacity ? job->published_capacity * 2 : 64;
            job->published = weir_realloc(job->published, (size_t)job->published_capacity * sizeof *job->published);
        }
        snprintf(job->published[job->published_count++], sizeof job->published[0], "%s", text);
    }
    sim_checkpoint(job, commit->checkpoint)->published = true;
    count(w, C_checkpoint_published);
}

void store_check_abort(struct world *w, struct job *job)
{
    for (uint64_t id = 1; id < job->checkpoint_capacity; id++) {
        const struct sim_checkpoint *checkpoint = &job->checkpoint_list[id];
        if (checkpoint->named && !checkpoint->published && checkpoint->metadata->n_committables > 0)
            violate(w, "abort-before-commit", "job %.8s: %" PRIu64 " is complete and not published", job->id, id);
    }
}

/* All of it: up to its end, or where the barrier was that has stopped it. */
void store_check_finished(struct world *w, struct job *job)
{
    const struct sim_checkpoint *last = NULL;
    for (uint64_t id = job->checkpoint_capacity; id-- > 1 && !last;)
        if (job->checkpoint_list[id].named)
            last = &job->checkpoint_list[id];
    for (size_t i = 0; job->output && last && i < last->metadata->n_parts; i++) {
        const Weir__StatePart *part = last->metadata->parts[i];
        struct part_bytes bytes;
        int op = part_number(part, &bytes);
        for (int g = 0; g < SIM_GROUPS && job->ops[op].sink; g++) {
            if (!(groups_of(part->subtask, part->parallelism) >> g & 1))
                continue;
            if (job->published_to[op][g] != bytes.since[g] ||
                (bytes.since[g] != SIM_END && !(last->flags & SIM_FLAG_STOP)))
                violate(w, "output-lost",
                        "job %.8s is FINISHED, output of operator %d group %d is published to %" PRIu64, job->id, op, g,
                        job->published_to[op][g]);
        }
    }
    if (!last)
        violate(w, "output-lost", "job %.8s is FINISHED without a checkpoint", job->id);
}

/* NULL: HEAD and the JobManager agree about a job that has ended. */
const char *store_leftover(const struct job *job, const struct weir_jm_job *view)
{
    const struct sim_head *head = &job->head;
    if (job->erased) /* while another JobManager was reading it */
        return NULL;
    if (!head->exists || head->state != view->state)
        return "HEAD does not say that the job has ended";
    if (head->retained_count != view->retained_count)
        return "HEAD and the JobManager differ in what is retained";
    for (int i = 0; i < head->retained_count; i++)
        if (head->retained[i] != view->retained[i].id)
            return "HEAD and the JobManager differ in what is retained";
    for (int i = 0; i < head->retained_count && !job->commit_failed; i++) {
        const struct sim_checkpoint *checkpoint = &job->checkpoint_list[head->retained[i]];
        if (!checkpoint->published && checkpoint->metadata->n_committables > 0)
            return "a complete checkpoint is not published";
    }
    for (int i = 0; i < job->object_count; i++) {
        const struct sim_object *object = &job->objects[i];
        if (!object->gone && !store_needed_by((struct job *)(uintptr_t)job, object->key)) {
            static char text[160];
            snprintf(text, sizeof text, "an object is left that nothing needs: %s", object->key);
            return text;
        }
    }
    return NULL;
}
