/* kafka: which partitions there are, which are ours, and where each begins and ends. Blocks: it runs on the pool.
 *
 * "earliest", "latest", "group" and times are turned into offsets once, when a partition is first seen: a restart before the first record
 * must begin where the first attempt did. With read_committed "latest" is the last stable offset. A partition that appears later begins at its
 * beginning, whatever the job began with: nothing of it was there then.
 */
#include <inttypes.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "connectors/kafka/kafka_int.h"

#define ENDS_TIMEOUT_MS 10000
#define LEADER_WAIT_MS 10000
#define RETRY_MS 100

#define PARTITIONS_MAX 100000

/* --- Places */

static weir_err bad_places(const char *option, const char *text, struct weir_error *error)
{
    return weir_fail(
        error, WEIR_ERR_INVALID,
        "'%s' = '%.100s' is not of the form partition:0,offset:42;partition:1,offset:300 (with topic:NAME, before each, where "
        "there are several topics)",
        option, text);
}

weir_err weir_kafka_places_parse(const char *option, const char *text, struct weir_kafka_places *places,
                                 struct weir_error *error)
{
    for (const char *at = text; *at;) {
        size_t size = strcspn(at, ";");
        char entry[400], topic[256] = "";
        int end = 0;
        struct weir_kafka_place place = {.topic = NULL};
        if (size == 0 || size >= sizeof entry)
            return bad_places(option, text, error);
        memcpy(entry, at, size);
        entry[size] = 0;
        const char *rest = entry;
        if (sscanf(entry, " topic:%255[^,],%n", topic, &end) == 1 && end > 0)
            rest += end;
        end = 0;
        if (sscanf(rest, " partition:%" SCNd32 ", offset:%" SCNd64 " %n", &place.partition, &place.offset, &end) != 2 ||
            rest[end] || place.partition < 0 || place.offset < 0)
            return bad_places(option, text, error);
        place.topic = topic[0] ? weir_strdup(topic) : NULL;
        places->list = weir_realloc(places->list, (size_t)(places->count + 1) * sizeof *places->list);
        places->list[places->count++] = place;
        at += size + (at[size] == ';');
    }
    return places->count ? WEIR_OK : bad_places(option, text, error);
}

static const struct weir_kafka_place *place_of(const struct weir_kafka_places *places, const char *topic,
                                               int32_t partition)
{
    for (int i = 0; i < places->count; i++)
        if (places->list[i].partition == partition &&
            (!places->list[i].topic || strcmp(places->list[i].topic, topic) == 0))
            return &places->list[i];
    return NULL;
}

/* --- Whose */

bool weir_kafka_is_mine(const char *topic, int32_t partition, int subtask, int parallelism)
{
    uint64_t hash = 0xcbf29ce484222325; /* FNV-1a: it may never change, as checkpoints were dealt by it */
    for (const char *c = topic; *c; c++)
        hash = (hash ^ (uint8_t)*c) * 0x100000001b3;
    return (int)((hash % (uint64_t)parallelism + (uint64_t)partition) % (uint64_t)parallelism) == subtask;
}

/* --- Finding partitions */

static weir_err add_partitions(struct weir_kafka_discovery *d, const struct rd_kafka_metadata_topic *topic,
                               struct weir_error *error)
{
    for (int i = 0; i < topic->partition_cnt; i++) {
        int32_t partition = topic->partitions[i].id;
        if (!weir_kafka_is_mine(topic->topic, partition, d->subtask, d->parallelism))
            continue;
        if (d->found_count == PARTITIONS_MAX)
            return weir_fail(error, WEIR_ERR_FULL, "connector 'kafka': more than %d partitions for one subtask",
                             PARTITIONS_MAX);
        d->found = weir_realloc(d->found, (size_t)(d->found_count + 1) * sizeof *d->found);
        d->found[d->found_count++] = (struct weir_kafka_found){weir_strdup(topic->topic), partition, -1, -1};
    }
    return WEIR_OK;
}

static weir_err find_topic(struct weir_kafka_discovery *d, const char *name, struct weir_error *error)
{
    const struct rd_kafka_metadata *metadata = NULL;
    char what[400];
    rd_kafka_topic_t *topic = rd_kafka_topic_new(d->client->rk, name, NULL);
    if (!topic)
        return weir_fail(error, WEIR_ERR_INVALID, "connector 'kafka': '%.255s' cannot be a topic's name", name);
    rd_kafka_resp_err_t failed = rd_kafka_metadata(d->client->rk, 0, topic, &metadata, d->timeout_ms);
    if (!failed && metadata->topic_cnt == 1)
        failed = metadata->topics[0].err;
    weir_err err = WEIR_OK;
    snprintf(what, sizeof what, "cannot read topic '%.255s'", name);
    if (failed == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || failed == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)
        err = weir_fail(error, WEIR_ERR_NOT_FOUND,
                        "connector 'kafka': there is no topic '%.255s' on %s: create it, or mend the option 'topic'",
                        name, d->client->brokers);
    else if (failed)
        err = weir_kafka_fail(d->client, WEIR_ERR_IO, failed, what, error);
    else if (metadata->topic_cnt == 1)
        err = add_partitions(d, &metadata->topics[0], error);
    if (metadata)
        rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
    return err;
}

static weir_err find_pattern(struct weir_kafka_discovery *d, struct weir_error *error)
{
    const struct rd_kafka_metadata *metadata = NULL;
    regex_t regex;
    if (regcomp(&regex, d->topics[0], REG_EXTENDED | REG_NOSUB))
        return weir_fail(error, WEIR_ERR_INVALID, "connector 'kafka': topic-pattern is no regular expression");
    rd_kafka_resp_err_t failed = rd_kafka_metadata(d->client->rk, 1, NULL, &metadata, d->timeout_ms);
    weir_err err = failed ? weir_kafka_fail(d->client, WEIR_ERR_IO, failed, "cannot list the topics", error) : WEIR_OK;
    for (int i = 0; !err && i < metadata->topic_cnt; i++)
        if (!metadata->topics[i].err && regexec(&regex, metadata->topics[i].topic, 0, NULL, 0) == 0)
            err = add_partitions(d, &metadata->topics[i], error);
    if (metadata)
        rd_kafka_metadata_destroy(metadata);
    regfree(&regex);
    return err;
}

/* --- Offsets */

static weir_err watermarks(struct weir_kafka_discovery *d, const struct weir_kafka_found *found, int64_t *low,
                           int64_t *high, struct weir_error *error)
{
    rd_kafka_resp_err_t failed;
    for (int ms = 0;; ms += RETRY_MS) { /* the partition is there: its leader may be about to be */
        failed =
            rd_kafka_query_watermark_offsets(d->client->rk, found->topic, found->partition, low, high, d->timeout_ms);
        if (!failed)
            return WEIR_OK;
        if ((failed != RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION && failed != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART &&
             failed != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE &&
             failed != RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION) ||
            ms >= LEADER_WAIT_MS)
            break;
        usleep(RETRY_MS * 1000);
    }
    char what[400];
    snprintf(what, sizeof what, "cannot read the offsets of topic '%.255s', partition %d", found->topic,
             found->partition);
    return weir_kafka_fail(d->client, WEIR_ERR_IO, failed, what, error);
}

/* Of one partition, by the broker: what the group has committed, or the first record at or after a time; -1: there is none. */
static weir_err look_up(struct weir_kafka_discovery *d, const struct weir_kafka_places *places,
                        const struct weir_kafka_found *found, int64_t *offset, struct weir_error *error)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *entry = rd_kafka_topic_partition_list_add(list, found->topic, found->partition);
    entry->offset = places->timestamp_ms;
    rd_kafka_resp_err_t failed = places->mode == KAFKA_GROUP
                                     ? rd_kafka_committed(d->client->rk, list, d->timeout_ms)
                                     : rd_kafka_offsets_for_times(d->client->rk, list, d->timeout_ms);
    if (!failed)
        failed = entry->err;
    *offset = entry->offset >= 0 ? entry->offset : -1;
    rd_kafka_topic_partition_list_destroy(list);
    if (!failed)
        return WEIR_OK;
    char what[400];
    snprintf(what, sizeof what, "cannot look up %s of topic '%.255s', partition %d",
             places->mode == KAFKA_GROUP ? "the group's offset" : "a time", found->topic, found->partition);
    return weir_kafka_fail(d->client, WEIR_ERR_IO, failed, what, error);
}

static weir_err resolve(struct weir_kafka_discovery *d, const struct weir_kafka_places *places,
                        const struct weir_kafka_found *found, bool is_start, int64_t *offset, struct weir_error *error)
{
    int64_t low = 0, high = 0, at = -1;
    weir_err err = watermarks(d, found, &low, &high, error);
    if (err)
        return err;
    switch (places->mode) {
    case KAFKA_UNBOUNDED:
        break;
    case KAFKA_EARLIEST:
        at = low;
        break;
    case KAFKA_LATEST:
        at = high;
        break;
    case KAFKA_GROUP:
    case KAFKA_TIMESTAMP:
        if ((err = look_up(d, places, found, &at, error)))
            return err;
        if (at < 0 && places->mode == KAFKA_GROUP && strcmp(d->reset, "none") == 0)
            return weir_fail(error, WEIR_ERR_NOT_FOUND,
                             "connector 'kafka': the group has committed no offset of topic '%s', partition %d: set "
                             "'properties.auto.offset.reset' to earliest or latest, or another 'scan.startup.mode'",
                             found->topic, found->partition);
        if (at < 0)
            at = places->mode == KAFKA_GROUP && strcmp(d->reset, "earliest") == 0 ? low : high;
        break;
    case KAFKA_SPECIFIC: {
        const struct weir_kafka_place *place = place_of(places, found->topic, found->partition);
        at = place ? place->offset : is_start ? low : -1;
        break;
    }
    }
    *offset = at;
    return WEIR_OK;
}

static bool is_known(const struct weir_kafka_discovery *d, const struct weir_kafka_found *found, bool *wants_stop)
{
    for (int i = 0; i < d->known_count; i++)
        if (d->known[i].partition == found->partition && strcmp(d->known[i].topic, found->topic) == 0) {
            *wants_stop = d->known[i].stop == -2;
            return true;
        }
    return false;
}

weir_err weir_kafka_discover(void *arg, struct weir_error *error)
{
    static const struct weir_kafka_places earliest = {.mode = KAFKA_EARLIEST};
    struct weir_kafka_discovery *d = arg;
    weir_err err = WEIR_OK;
    if (d->is_pattern)
        err = find_pattern(d, error);
    else
        for (int i = 0; i < d->topic_count && !err; i++)
            err = find_topic(d, d->topics[i], error);
    for (int i = 0; i < d->found_count && !err; i++) {
        struct weir_kafka_found *found = &d->found[i];
        bool wants_stop = true;
        if (!is_known(d, found, &wants_stop))
            err = resolve(d, d->first ? &d->start : &earliest, found, true, &found->start, error);
        if (!err && wants_stop)
            err = resolve(d, &d->stop, found, false, &found->stop, error);
    }
    return err;
}

weir_err weir_kafka_find_ends(void *arg, struct weir_error *error)
{
    const struct weir_kafka_ends *ends = arg;
    for (int i = 0; i < ends->list->cnt; i++)
        ends->list->elems[i].offset = RD_KAFKA_OFFSET_END;
    rd_kafka_resp_err_t failed = rd_kafka_offsets_for_times(ends->client->rk, ends->list, ENDS_TIMEOUT_MS);
    for (int i = 0; i < ends->list->cnt; i++)
        if (failed || ends->list->elems[i].err)
            ends->list->elems[i].offset = -1;
    return failed ? weir_kafka_fail(ends->client, WEIR_ERR_IO, failed, "cannot look up where partitions end", error)
                  : WEIR_OK;
}

void weir_kafka_ends_free(void *arg)
{
    struct weir_kafka_ends *ends = arg;
    rd_kafka_topic_partition_list_destroy(ends->list);
    weir_kafka_client_unref(ends->client);
    free(ends);
}

static void free_found(struct weir_kafka_found *list, int count)
{
    for (int i = 0; i < count; i++)
        free(list[i].topic);
    free(list);
}

void weir_kafka_places_fini(struct weir_kafka_places *places)
{
    for (int i = 0; i < places->count; i++)
        free(places->list[i].topic);
    free(places->list);
}

void weir_kafka_discovery_free(void *arg)
{
    struct weir_kafka_discovery *d = arg;
    if (!d)
        return;
    for (int i = 0; i < d->topic_count; i++)
        free(d->topics[i]);
    free(d->topics);
    weir_kafka_places_fini(&d->start);
    weir_kafka_places_fini(&d->stop);
    free_found(d->known, d->known_count);
    free_found(d->found, d->found_count);
    weir_kafka_client_unref(d->client);
    free(d);
}
