/* source, in an alignment group (ops/alignment.h): what is further ahead of the group than the option allows is not read for a while.
 *
 * Paused is a lane (a partition) where the connector can pause one (reader_pause()), else the whole reader or the split in hand. What is
 * paused is not idle: it has rows. Rows that were given before it was paused pass: at most a batch.
 */
#include <inttypes.h>

#include "base/log.h"
#include "ops/alignment.h"
#include "ops/source_int.h"

#define LOOK_AGAIN_MS 1000 /* a wake comes before */
#define STUCK_MS 30000     /* a group that has not moved for so long is worth a line */
#define INTERVAL_MIN_MS 10
#define INTERVAL_MAX_MS 3600000

weir_err weir_source_align_check(const char *group, const char *max_drift, int64_t max_drift_ms, int64_t interval_ms,
                                 bool has_watermarks, struct weir_error *error)
{
    if (!group)
        return max_drift
                   ? weir_fail(error, WEIR_ERR_INVALID,
                               "'scan.watermark.alignment.max-drift' is given, and no group to be aligned with: set "
                               "'scan.watermark.alignment.group'")
                   : WEIR_OK;
    if (!max_drift || max_drift_ms < 1)
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "'scan.watermark.alignment.group' needs 'scan.watermark.alignment.max-drift': how far a source or partition may be "
            "ahead of the group's slowest, as in '1 min'");
    if (!has_watermarks)
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "'scan.watermark.alignment.group' needs the source's own watermarks: set 'watermark.expression'");
    if (interval_ms < INTERVAL_MIN_MS || interval_ms > INTERVAL_MAX_MS)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "'scan.watermark.alignment.update-interval' must be from 10 ms to 1 h");
    return WEIR_OK;
}

void weir_source_align_open(struct source *source, struct weir_op_ctx *ctx, const char *group, int64_t max_drift_ms,
                            int64_t interval_ms)
{
    source->align = (struct source_align){.group = group, .max_drift_ms = max_drift_ms, .most_ms = WEIR_WATERMARK_MIN};
    if (group && ctx->alignment)
        source->align.member = weir_alignment_join(ctx->alignment, group, interval_ms, ctx->wake, ctx->wake_arg);
}

void weir_source_align_close(struct source *source, bool finished)
{
    weir_aligned_leave(source->align.member, finished);
    source->align.member = NULL;
}

void weir_source_align_end(struct source *source)
{
    if (source->align.member)
        (void)weir_aligned_say(source->align.member, WEIR_ALIGNED_FREE);
    source->align.waits = false;
}

int64_t weir_source_align_say(struct source *source, int64_t least_ms, int64_t most_ms)
{
    struct source_align *align = &source->align;
    align->most_ms = most_ms;
    align->group_ms = weir_aligned_say(align->member, least_ms);
    return weir_alignment_bound_ms(align->group_ms, align->max_drift_ms);
}

void weir_source_align_pause(struct source *source, struct weir_op_ctx *ctx, int64_t paused_ms)
{
    struct source_align *align = &source->align;
    bool waits = paused_ms != INT64_MAX;
    if (!waits || align->group_ms != align->stuck_ms || !align->waits) { /* it moves */
        align->stuck_ms = align->group_ms;
        align->stuck_since_ms = weir_op_now_ms(ctx);
        align->told = false;
    }
    align->waits = waits;
    int64_t wanted_ms = INT64_MAX;
    if (waits)
        wanted_ms = paused_ms < WEIR_WATERMARK_MIN + 1 + align->max_drift_ms ? WEIR_WATERMARK_MIN + 1
                                                                             : paused_ms - align->max_drift_ms;
    weir_aligned_await(align->member, wanted_ms);
}

bool weir_source_align_whole(struct source *source, struct weir_op_ctx *ctx, int64_t least_ms, int64_t most_ms)
{
    if (!source->align.member)
        return true;
    int64_t bound_ms = weir_source_align_say(source, least_ms, most_ms);
    bool paused = least_ms != WEIR_ALIGNED_FREE && least_ms > bound_ms;
    weir_source_align_pause(source, ctx, paused ? least_ms : INT64_MAX);
    source->align.paused = paused;
    return !paused;
}

enum weir_read weir_source_align_wait(struct weir_op_ctx *ctx, int64_t *wait_until_ms)
{
    ctx->awaits_call = true;
    *wait_until_ms = weir_op_now_ms(ctx) + LOOK_AGAIN_MS;
    return WEIR_READ_EMPTY;
}

void weir_source_align_report(struct source *source, struct weir_op_ctx *ctx, const char *holder)
{
    struct source_align *align = &source->align;
    if (!align->member)
        return;
    bool known = align->group_ms != WEIR_ALIGNED_UNKNOWN && align->most_ms != WEIR_WATERMARK_MIN;
    if (known && align->most_ms > align->group_ms)
        weir_op_number_set(ctx->numbers, WEIR_OP_WATERMARK_ALIGNMENT_DRIFT, align->most_ms - align->group_ms);
    else if (known)
        weir_op_number_set(ctx->numbers, WEIR_OP_WATERMARK_ALIGNMENT_DRIFT, 0);
    if (!align->waits || align->told || weir_op_now_ms(ctx) - align->stuck_since_ms < STUCK_MS)
        return;
    align->told = true;
    weir_log(
        WARN,
        "%s: paused by its watermark alignment, group '%s': %s %s for %d s. What may be without rows for long needs "
        "'watermark.idle-timeout'",
        ctx->plan->name, align->group, holder ? holder : "a source of it",
        align->group_ms == WEIR_ALIGNED_UNKNOWN ? "has said no watermark" : "has not come further", STUCK_MS / 1000);
}
