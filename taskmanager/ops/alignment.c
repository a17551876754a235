#include "ops/alignment.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

struct group {
    char *name;
    int64_t interval_ms;
    int64_t others_ms; /* of other processes */
    struct weir_aligned *members;
    struct group *next;
};

struct weir_aligned {
    struct weir_alignment *alignment;
    struct group *group;
    int64_t watermark_ms, awaits_ms;
    void (*wake)(void *arg);
    void *wake_arg;
    struct weir_aligned *next;
};

struct weir_alignment {
    pthread_mutex_t lock;
    struct group *groups;
    void (*changed)(void *arg);
    void *changed_arg;
};

struct weir_alignment *weir_alignment_new(void (*changed)(void *arg), void *arg)
{
    struct weir_alignment *alignment = weir_zalloc(sizeof *alignment);
    pthread_mutex_init(&alignment->lock, NULL);
    alignment->changed = changed;
    alignment->changed_arg = arg;
    return alignment;
}

void weir_alignment_free(struct weir_alignment *alignment)
{
    if (!alignment)
        return;
    for (struct group *group = alignment->groups, *next; group; group = next) {
        next = group->next;
        weir_assert(group->members == NULL);
        free(group->name);
        free(group);
    }
    pthread_mutex_destroy(&alignment->lock);
    free(alignment);
}

int64_t weir_alignment_bound_ms(int64_t group_ms, int64_t max_drift_ms)
{
    if (group_ms == WEIR_ALIGNED_UNKNOWN || group_ms == WEIR_ALIGNED_FREE)
        return group_ms;
    return group_ms > INT64_MAX - max_drift_ms ? INT64_MAX : group_ms + max_drift_ms;
}

/* --- Under the lock */

static struct group *find(struct weir_alignment *alignment, const char *name)
{
    struct group *group = alignment->groups;
    while (group && strcmp(group->name, name) != 0)
        group = group->next;
    return group;
}

static int64_t least_of(const struct group *group)
{
    int64_t least_ms = WEIR_ALIGNED_FREE;
    for (const struct weir_aligned *member = group->members; member; member = member->next)
        least_ms = member->watermark_ms < least_ms ? member->watermark_ms : least_ms;
    return least_ms;
}

static int64_t group_ms(const struct group *group)
{
    int64_t own_ms = least_of(group);
    return own_ms < group->others_ms ? own_ms : group->others_ms;
}

/* Those that wait for what is there now; not `self`, who is told. */
static void wake_waiting(struct group *group, const struct weir_aligned *self)
{
    int64_t now_ms = group_ms(group);
    for (struct weir_aligned *member = group->members; member; member = member->next)
        if (member != self && member->awaits_ms != INT64_MAX && member->awaits_ms <= now_ms) {
            member->awaits_ms = INT64_MAX;
            member->wake(member->wake_arg);
        }
}

/* --- Members */

static void tell(const struct weir_alignment *alignment)
{
    if (alignment->changed)
        alignment->changed(alignment->changed_arg);
}

struct weir_aligned *weir_alignment_join(struct weir_alignment *alignment, const char *name, int64_t interval_ms,
                                         void (*wake)(void *arg), void *wake_arg)
{
    struct weir_aligned *member = weir_zalloc(sizeof *member);
    *member = (struct weir_aligned){.alignment = alignment,
                                    .watermark_ms = WEIR_ALIGNED_UNKNOWN,
                                    .awaits_ms = INT64_MAX,
                                    .wake = wake,
                                    .wake_arg = wake_arg};
    pthread_mutex_lock(&alignment->lock);
    struct group *group = find(alignment, name);
    if (!group) {
        group = weir_zalloc(sizeof *group);
        *group = (struct group){.name = weir_strdup(name), .interval_ms = interval_ms, .next = alignment->groups};
        group->others_ms = WEIR_ALIGNED_UNKNOWN;
        alignment->groups = group;
    }
    group->interval_ms = interval_ms < group->interval_ms ? interval_ms : group->interval_ms;
    member->group = group;
    member->next = group->members;
    group->members = member;
    pthread_mutex_unlock(&alignment->lock);
    tell(alignment);
    return member;
}

void weir_aligned_leave(struct weir_aligned *member, bool finished)
{
    if (!member)
        return;
    struct weir_alignment *alignment = member->alignment;
    pthread_mutex_lock(&alignment->lock);
    struct weir_aligned **at = &member->group->members;
    while (*at != member)
        at = &(*at)->next;
    *at = member->next;
    if (!finished)
        member->group->others_ms = WEIR_ALIGNED_UNKNOWN;
    wake_waiting(member->group, NULL);
    pthread_mutex_unlock(&alignment->lock);
    free(member);
    tell(alignment);
}

int64_t weir_aligned_say(struct weir_aligned *member, int64_t watermark_ms)
{
    struct weir_alignment *alignment = member->alignment;
    pthread_mutex_lock(&alignment->lock);
    bool was_unknown = member->watermark_ms == WEIR_ALIGNED_UNKNOWN;
    if (member->watermark_ms != watermark_ms) {
        member->watermark_ms = watermark_ms;
        wake_waiting(member->group, member);
    }
    bool news = was_unknown && least_of(member->group) != WEIR_ALIGNED_UNKNOWN;
    int64_t now_ms = group_ms(member->group);
    pthread_mutex_unlock(&alignment->lock);
    if (news)
        tell(alignment);
    return now_ms;
}

void weir_aligned_await(struct weir_aligned *member, int64_t watermark_ms)
{
    pthread_mutex_lock(&member->alignment->lock);
    member->awaits_ms = watermark_ms;
    if (watermark_ms != INT64_MAX) /* it may have come since it was told */
        wake_waiting(member->group, NULL);
    pthread_mutex_unlock(&member->alignment->lock);
}

/* --- The exchange */

int64_t weir_alignment_interval_ms(struct weir_alignment *alignment)
{
    int64_t interval_ms = INT64_MAX;
    pthread_mutex_lock(&alignment->lock);
    for (const struct group *group = alignment->groups; group; group = group->next)
        interval_ms = group->interval_ms < interval_ms ? group->interval_ms : interval_ms;
    pthread_mutex_unlock(&alignment->lock);
    return interval_ms;
}

int weir_alignment_groups(struct weir_alignment *alignment, struct weir_alignment_group **groups)
{
    int count = 0;
    *groups = NULL;
    pthread_mutex_lock(&alignment->lock);
    for (const struct group *group = alignment->groups; group; group = group->next) {
        *groups = weir_realloc(*groups, (size_t)(count + 1) * sizeof **groups);
        (*groups)[count] = (struct weir_alignment_group){.name = group->name, .watermark_ms = least_of(group)};
        for (const struct weir_aligned *member = group->members; member; member = member->next)
            (*groups)[count].members++;
        count++;
    }
    pthread_mutex_unlock(&alignment->lock);
    return count;
}

void weir_alignment_others(struct weir_alignment *alignment, const char *name, int64_t watermark_ms)
{
    pthread_mutex_lock(&alignment->lock);
    struct group *group = find(alignment, name);
    if (group) {
        group->others_ms = watermark_ms;
        wake_waiting(group, NULL);
    }
    pthread_mutex_unlock(&alignment->lock);
}
