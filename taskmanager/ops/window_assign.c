/* Window time arithmetic and the grouping of a batch's rows by pane. Pure; the worker thread calls it.
 *
 * Semantics are Flink's (TimeWindow.getWindowStartWithOffset), with floors for negative times. Bounds that keep sums from wrapping
 * are in window_int.h.
 */
#include "ops/window_int.h"

#include "base/assert.h"

static int64_t floor_to(int64_t time_ms, int64_t step_ms, int64_t offset_ms)
{
    int64_t rest = (time_ms - offset_ms) % step_ms;
    return time_ms - (rest < 0 ? rest + step_ms : rest);
}

static struct weir_pane pane_of(const struct weir_window_spec *spec, int64_t time_ms)
{
    int64_t start = floor_to(time_ms, spec->slide_ms, spec->offset_ms);
    if (!spec->cut_ms)
        return (struct weir_pane){start, start + spec->slide_ms};
    if (time_ms - start < spec->cut_ms)
        return (struct weir_pane){start, start + spec->cut_ms};
    return (struct weir_pane){start + spec->cut_ms, start + spec->slide_ms};
}

struct weir_pane weir_window_pane_ending(const struct weir_window_spec *spec, int64_t end_ms)
{
    return pane_of(spec, end_ms - 1);
}

int64_t weir_window_first_end(const struct weir_window_spec *spec, struct weir_pane pane)
{
    return weir_window_end_after(spec, pane.end_ms - 1);
}

int64_t weir_window_last_end(const struct weir_window_spec *spec, struct weir_pane pane)
{
    return floor_to(pane.start_ms, spec->slide_ms, spec->offset_ms) + spec->size_ms;
}

int64_t weir_window_end_after(const struct weir_window_spec *spec, int64_t after)
{
    /* Ends lie on offset + size + k * slide; after it comes the floor of after, one further. */
    return floor_to(after, spec->slide_ms, (spec->offset_ms + spec->size_ms) % spec->slide_ms) + spec->slide_ms;
}

struct weir_window_groups *weir_window_groups_new(void)
{
    struct weir_window_groups *groups = weir_alloc(sizeof *groups);
    groups->count = 0;
    groups->rows = NULL;
    memset(groups->buckets, 0xff, sizeof groups->buckets);
    return groups;
}

static bool all_in(const int64_t *times, int row_count, struct weir_pane pane)
{
    uint64_t width = (uint64_t)(pane.end_ms - pane.start_ms);
    uint64_t outside = 0;
    for (int i = 0; i < row_count; i++)
        outside |= (uint64_t)times[i] - (uint64_t)pane.start_ms >= width;
    return !outside;
}

static int16_t *bucket_of(struct weir_window_groups *groups, int64_t start_ms)
{
    const uint32_t mask = 2 * WEIR_BATCH_ROWS_MAX - 1;
    uint32_t at = (uint32_t)((uint64_t)start_ms * 0x9e3779b97f4a7c15u >> 40) & mask;
    while (groups->buckets[at] >= 0 && groups->groups[groups->buckets[at]].pane.start_ms != start_ms)
        at = (at + 1) & mask;
    return &groups->buckets[at];
}

static int group_for(const struct weir_window_spec *spec, struct weir_window_groups *groups, int64_t time_ms)
{
    struct weir_pane pane = pane_of(spec, time_ms);
    int16_t *bucket = bucket_of(groups, pane.start_ms);
    if (*bucket < 0) {
        *bucket = (int16_t)groups->count;
        groups->groups[groups->count++] = (struct weir_window_group){.pane = pane};
    }
    return *bucket;
}

void weir_window_group_rows(const struct weir_window_spec *spec, const int64_t *times, int row_count,
                            struct weir_window_groups *groups)
{
    struct weir_pane pane = pane_of(spec, times[0]);
    groups->rows = NULL;
    groups->count = 1;
    groups->groups[0] = (struct weir_window_group){.pane = pane, .count = row_count};
    if (all_in(times, row_count, pane))
        return;

    /* Neighbours in time are neighbours in the batch: the last row's group is the likely one. */
    groups->groups[0].count = 0;
    *bucket_of(groups, pane.start_ms) = 0;
    struct weir_window_group *group = &groups->groups[0];
    for (int i = 0; i < row_count; i++) {
        if (times[i] < group->pane.start_ms || times[i] >= group->pane.end_ms)
            group = &groups->groups[group_for(spec, groups, times[i])];
        groups->group_of_row[i] = (uint16_t)(group - groups->groups);
        group->count++;
    }
    int first = 0;
    for (int g = 0; g < groups->count; g++) {
        groups->groups[g].first = first;
        first += groups->groups[g].count;
        groups->groups[g].count = 0;
    }
    for (int i = 0; i < row_count; i++) {
        group = &groups->groups[groups->group_of_row[i]];
        groups->row_space[group->first + group->count++] = i;
    }
    /* The buckets are emptied through the groups. Slots may be freed out of probing order: so find all, then clear. */
    if (groups->count > WEIR_BATCH_ROWS_MAX / 8) {
        memset(groups->buckets, 0xff, sizeof groups->buckets);
    } else {
        int16_t *taken[WEIR_BATCH_ROWS_MAX / 8];
        for (int g = 0; g < groups->count; g++)
            taken[g] = bucket_of(groups, groups->groups[g].pane.start_ms);
        for (int g = 0; g < groups->count; g++)
            *taken[g] = -1;
    }
    groups->rows = groups->row_space;
}
