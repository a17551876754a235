#include "connectors/kafka/publish.h"

#include "base/assert.h"
#include "base/mutant.h"

void weir_publish_init(struct weir_publish *publish, struct weir_publish_handle *handle, uint64_t checkpoint,
                       uint64_t after, const struct weir_commit_segment *segments, int64_t segment_count,
                       int64_t part_size)
{
    weir_assert(checkpoint > 0 && segment_count > 0 && part_size > 0);
    *publish = (struct weir_publish){.handle = handle,
                                     .checkpoint = checkpoint,
                                     .after = after,
                                     .segments = segments,
                                     .segment_count = segment_count,
                                     .part_size = part_size,
                                     .step = WEIR_PUBLISH_DONE};
}

void weir_publish_hold(struct weir_publish *publish, enum weir_publish_held *held)
{
    publish->held = held;
}

/* An earlier checkpoint has published it: it was pending there, too. */
static bool is_published(const struct weir_publish *publish, int64_t segment)
{
    return publish->segments[segment].since < publish->marker.before && !WEIR_MUTANT(kafka_published_again);
}

static bool is_left_out(const struct weir_publish *publish, int64_t segment)
{
    bool committed = publish->held && publish->held[segment] == WEIR_PUBLISH_COMMITTED;
    return is_published(publish, segment) || (committed && !WEIR_MUTANT(kafka_held_again));
}

bool weir_publish_asks(const struct weir_publish *publish, int64_t segment)
{
    return publish->held && publish->held[segment] == WEIR_PUBLISH_HELD && !is_published(publish, segment);
}

void weir_publish_settled(struct weir_publish *publish, int64_t segment, bool committed)
{
    weir_assert(weir_publish_asks(publish, segment));
    publish->held[segment] = committed ? WEIR_PUBLISH_COMMITTED : WEIR_PUBLISH_NOT;
}

/* The end of the part that begins with `first`. The same whoever asks: parts are counted in markers. */
static int64_t end_of_part(const struct weir_publish *publish, int64_t first)
{
    int64_t size = 0, end = first;
    for (; end < publish->segment_count; end++) {
        int64_t more = is_left_out(publish, end) ? 0 : publish->segments[end].size;
        if (size > 0 && size + more > publish->part_size)
            break;
        size += more;
    }
    return end;
}

/* The next part, or none is left. */
static enum weir_publish_step next_part(struct weir_publish *publish)
{
    if (publish->marker.part == publish->marker.parts)
        return WEIR_PUBLISH_DONE;
    publish->marker.part++;
    publish->segment = publish->part_end;
    publish->part_end = end_of_part(publish, publish->segment);
    return WEIR_PUBLISH_BEGIN;
}

static enum weir_publish_step ask(struct weir_publish *publish)
{
    publish->asked = true;
    publish->handle->knows = false;
    return WEIR_MUTANT(kafka_read_before_fence) ? WEIR_PUBLISH_END : WEIR_PUBLISH_FENCE;
}

/* What is left out is known: the same parts, whoever counts them. */
static enum weir_publish_step first_part(struct weir_publish *publish)
{
    for (int64_t at = 0; at < publish->segment_count; publish->marker.parts++)
        at = end_of_part(publish, at);
    publish->part_end = 0;
    for (; publish->marker.part < publish->written && publish->marker.part < publish->marker.parts;
         publish->marker.part++)
        publish->part_end = end_of_part(publish, publish->part_end);
    return next_part(publish);
}

/* What is left, by the last committed marker. */
static enum weir_publish_step what_is_left(struct weir_publish *publish)
{
    const struct weir_kafka_marker *have = &publish->handle->marker;
    bool whole = have->part == have->parts || WEIR_MUTANT(kafka_part_is_whole);
    bool again = have->checkpoint == publish->checkpoint && !whole;
    /* In part: another job's, which began with a later one than this. */
    bool later = have->checkpoint > publish->checkpoint;
    if (have->checkpoint >= publish->checkpoint && (whole || (later && WEIR_MUTANT(kafka_later_is_whole))) &&
        !WEIR_MUTANT(kafka_marker_ignored))
        return WEIR_PUBLISH_DONE;
    if ((have->checkpoint < publish->after && !WEIR_MUTANT(kafka_early)) || (!again && !whole))
        return publish->asked ? WEIR_PUBLISH_EARLY : ask(publish); /* somebody else may have gone on since */
    publish->marker = (struct weir_kafka_marker){
        .checkpoint = publish->checkpoint,
        .before = again && !WEIR_MUTANT(kafka_before_forgotten) ? have->before : have->checkpoint};
    publish->written = again && !WEIR_MUTANT(kafka_parts_from_one) ? have->part : 0;
    for (int64_t i = 0; i < publish->segment_count; i++)
        if (weir_publish_asks(publish, i))
            return WEIR_PUBLISH_SETTLE;
    return first_part(publish);
}

static enum weir_publish_step next_segment(struct weir_publish *publish)
{
    while (publish->segment < publish->part_end && is_left_out(publish, publish->segment))
        publish->segment++;
    return publish->segment < publish->part_end ? WEIR_PUBLISH_PRODUCE : WEIR_PUBLISH_MARK;
}

static enum weir_publish_step after(struct weir_publish *publish)
{
    switch (publish->step) {
    case WEIR_PUBLISH_FENCE:
        if (WEIR_MUTANT(kafka_read_before_fence))
            break;
        return WEIR_MUTANT(kafka_end_unasked) ? WEIR_PUBLISH_READ : WEIR_PUBLISH_END;
    case WEIR_PUBLISH_END:
        return WEIR_PUBLISH_READ;
    case WEIR_PUBLISH_READ:
        publish->handle->marker = publish->found;
        if (WEIR_MUTANT(kafka_read_before_fence))
            return WEIR_PUBLISH_FENCE;
        break;
    case WEIR_PUBLISH_SETTLE:
        for (int64_t i = 0; i < publish->segment_count; i++)
            weir_assert(!weir_publish_asks(publish, i));
        return first_part(publish);
    case WEIR_PUBLISH_BEGIN:
        return next_segment(publish);
    case WEIR_PUBLISH_PRODUCE:
        publish->segment++;
        return next_segment(publish);
    case WEIR_PUBLISH_MARK:
        return WEIR_PUBLISH_COMMIT;
    case WEIR_PUBLISH_COMMIT:
        publish->handle->marker = publish->marker;
        return next_part(publish);
    default: /* the first */
        return publish->handle->knows ? what_is_left(publish) : ask(publish);
    }
    publish->handle->knows = true;
    return what_is_left(publish);
}

enum weir_publish_step weir_publish_next(struct weir_publish *publish, bool ok)
{
    weir_assert(publish->step <= WEIR_PUBLISH_DONE);
    if (!ok && WEIR_MUTANT(kafka_unknown_is_done) && publish->step == WEIR_PUBLISH_COMMIT)
        ok = true;
    if (!ok)
        publish->handle->knows = WEIR_MUTANT(kafka_handle_kept) && publish->handle->knows;
    publish->step = ok ? after(publish) : WEIR_PUBLISH_FAILED;
    return publish->step;
}

/* --- Reading the progress topic */

void weir_publish_end(struct weir_publish *publish, int64_t high_watermark)
{
    publish->end = high_watermark;
}

void weir_publish_found(struct weir_publish *publish, const struct weir_kafka_marker *marker)
{
    if (publish->found.checkpoint == 0 || !WEIR_MUTANT(kafka_first_marker))
        publish->found = *marker;
}

bool weir_publish_reached(const struct weir_publish *publish, int64_t offset)
{
    return offset >= publish->end;
}
