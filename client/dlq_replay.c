/* weir dlq replay: what was dead goes to its topic again as it was, or as lines into a directory; each once.
 *
 * A replay has an id and a mark with the ids of its letters. To a topic: the mark is "pending" before the transaction, which carries the id
 * (connectors/kafka/dead_letters.h), and "done" after it; one that is found pending is asked for at the brokers, once its transaction is settled.
 * To a directory: the lines are in a hidden file, durable, before the mark, which is done at once; then the file gets its name. A file that is
 * hidden yet and has a mark is given it by the next replay; one without a mark is nobody's.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/hash.h"
#include "connectors/kafka/dead_letters.h"
#include "data/time_text.h"
#include "dlq.h"

#define CHUNK_LETTERS 1000 /* of one replay: a transaction, or a file */
#define CHUNK_SIZE ((size_t)32 << 20)

struct replay {
    struct weir_client *client;
    struct dlq_place *place;
    struct dlq_place target; /* brokers and, when it is given, the topic */
    struct weir_kafka_replay *writer;
    const char *dir; /* or the directory; */
    int dir_fd;      /* open, and locked; -1: none */
    json_t *letters; /* of the chunk in hand, and their ids */
    json_t *ids;
    size_t size;
    int64_t sent, cut, before, nowhere; /* letters: sent; not whole; replayed before; of another kind than the target */
    weir_err err;
    struct weir_error error;
};

/* --- A chunk to topics */

static const char *topic_of(const struct replay *replay, const json_t *letter)
{
    return replay->target.topic ? replay->target.topic : json_string_value(json_object_get(letter, "topic"));
}

static weir_err send_letter(struct replay *replay, const json_t *letter)
{
    const json_t *headers = json_object_get(letter, "headers"), *header,
                 *timestamp = json_object_get(letter, "timestamp");
    size_t count = json_array_size(headers), i;
    const char *topic = topic_of(replay, letter);
    struct weir_message_header *list = weir_zalloc((count + 1) * sizeof *list);
    struct weir_message_out message = {.timestamp_ms = INT64_MIN, .partition = -1, .headers = list};
    uint8_t *value = dlq_bytes(letter, "value", &message.value_size),
            *key = dlq_bytes(letter, "key", &message.key_size);
    message.value = value;
    message.key = key;
    message.topic = topic;
    message.topic_size = strlen(topic);
    if (json_is_string(timestamp))
        (void)weir_timestamp_parse(json_string_value(timestamp), json_string_length(timestamp), &message.timestamp_ms);
    if (!replay->target.topic && json_is_integer(json_object_get(letter, "partition")))
        message.partition = (int32_t)weir_json_number(letter, "partition");
    json_array_foreach(headers, i, header)
    {
        list[i].name = weir_json_text(header, "name");
        list[i].value = dlq_bytes(header, "value", &list[i].value_size);
        message.header_count++;
    }
    weir_err err = weir_kafka_replay_send(replay->writer, &message, &replay->error);
    for (i = 0; i < count; i++)
        free((void *)(uintptr_t)list[i].value);
    free(list);
    free(value);
    free(key);
    return err;
}

static weir_err send_chunk(struct replay *replay, json_t *mark)
{
    const char *id = weir_json_text(mark, "replay"), *topic = topic_of(replay, json_array_get(replay->letters, 0));
    char *group = weir_format("weir-dlq-replay-%s", id);
    json_t *letter;
    size_t i;
    json_object_set_new(mark, "state", json_string("pending"));
    json_object_set_new(mark, "topic", json_string(topic));
    weir_err err = dlq_put_mark(replay->place, mark, &replay->error);
    if (!err)
        err = weir_kafka_replay_begin(replay->writer, &replay->error);
    json_array_foreach(replay->letters, i, letter) if (!err) err = send_letter(replay, letter);
    if (!err)
        err = weir_kafka_replay_commit(replay->writer, group, topic, &replay->error);
    json_object_set_new(mark, "state", json_string("done"));
    if (!err)
        err = dlq_put_mark(replay->place, mark, &replay->error);
    free(group);
    return err;
}

/* Replays that were cut short: their transactions are settled now. */
static weir_err settle(struct replay *replay)
{
    json_t *mark, *id;
    size_t i, k;
    weir_err err = WEIR_OK;
    json_array_foreach(replay->place->pending, i, mark)
    {
        char *group = weir_format("weir-dlq-replay-%s", weir_json_text(mark, "replay"));
        bool has = false;
        err = err ? err
                  : weir_kafka_replay_has(replay->writer, group, weir_json_text(mark, "topic"), &has, &replay->error);
        free(group);
        if (err)
            break;
        json_object_set_new(mark, "state", json_string(has ? "done" : "aborted"));
        err = dlq_put_mark(replay->place, mark, &replay->error);
        json_array_foreach(json_object_get(mark, "ids"), k, id) if (has && json_is_string(id))
            json_object_set_new(replay->place->replayed, json_string_value(id), json_true());
    }
    return err;
}

/* --- A chunk into a directory */

static weir_err write_lines(struct replay *replay, const char *hidden)
{
    json_t *letter;
    size_t i, size;
    int fd = openat(replay->dir_fd, hidden, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file)
        return weir_fail_errno(&replay->error, WEIR_ERR_IO, "cannot make '%s/%s'", replay->dir, hidden);
    json_array_foreach(replay->letters, i, letter)
    {
        uint8_t *value = dlq_bytes(letter, "value", &size);
        (void)fwrite(value, 1, size, file);
        (void)fputc('\n', file);
        free(value);
    }
    bool failed = ferror(file) || fflush(file) || fsync(fd);
    failed |= fclose(file) != 0;
    return failed ? weir_fail_errno(&replay->error, WEIR_ERR_IO, "cannot write '%s/%s'", replay->dir, hidden) : WEIR_OK;
}

static weir_err show_file(struct replay *replay, const char *hidden)
{
    if (renameat(replay->dir_fd, hidden, replay->dir_fd, hidden + 1) != 0 || fsync(replay->dir_fd) != 0)
        return weir_fail_errno(&replay->error, WEIR_ERR_IO, "cannot rename '%s/%s'", replay->dir, hidden);
    return WEIR_OK;
}

static weir_err write_chunk(struct replay *replay, json_t *mark)
{
    char *hidden = weir_format(".replayed-%s", weir_json_text(mark, "replay"));
    weir_err err = write_lines(replay, hidden);
    json_object_set_new(mark, "state", json_string("done"));
    if (!err)
        err = dlq_put_mark(replay->place, mark, &replay->error);
    if (!err)
        err = show_file(replay, hidden);
    free(hidden);
    return err;
}

/* What earlier replays left hidden here: shown when its mark is there. */
static weir_err show_marked(struct replay *replay)
{
    DIR *stream = opendir(replay->dir);
    weir_err err = stream ? WEIR_OK : weir_fail_errno(&replay->error, WEIR_ERR_IO, "cannot list '%s'", replay->dir);
    for (struct dirent *entry; !err && (entry = readdir(stream));)
        if (strncmp(entry->d_name, ".replayed-", 10) == 0 &&
            json_object_get(replay->place->replays, entry->d_name + 10))
            err = show_file(replay, entry->d_name);
    if (stream)
        closedir(stream);
    return err;
}

/* --- All of them */

static weir_err flush(struct replay *replay)
{
    size_t count = json_array_size(replay->letters);
    if (count == 0 || replay->client->dry_run)
        goto out;
    uint64_t number;
    char id[17];
    if (getrandom(&number, sizeof number, 0) != sizeof number)
        return weir_fail_errno(&replay->error, WEIR_ERR_IO, "no random number");
    snprintf(id, sizeof id, "%016" PRIx64, number);
    json_t *mark = json_pack("{s:s, s:O}", "replay", id, "ids", replay->ids);
    replay->err = replay->dir ? write_chunk(replay, mark) : send_chunk(replay, mark);
    json_decref(mark);
out:
    if (!replay->err)
        replay->sent += (int64_t)count;
    json_array_clear(replay->letters);
    json_array_clear(replay->ids);
    replay->size = 0;
    return replay->err;
}

static bool take(const char *id, json_t *letter, void *arg)
{
    struct replay *replay = arg;
    const struct weir_client *client = replay->client;
    if (client->code && strcmp(weir_json_text(letter, "code"), client->code) != 0)
        return true;
    if (!client->again && json_object_get(replay->place->replayed, id)) {
        replay->before++;
    } else if (!dlq_is_whole(letter)) {
        replay->cut++;
    } else if (!replay->dir && !topic_of(replay, letter)) {
        replay->nowhere++;
    } else {
        json_array_append(replay->letters, letter);
        json_array_append_new(replay->ids, json_string(id));
        replay->size += json_string_length(json_object_get(letter, "value"));
    }
    bool all = client->limit > 0 && replay->sent + (int64_t)json_array_size(replay->letters) >= client->limit;
    if (all || json_array_size(replay->letters) == CHUNK_LETTERS || replay->size > CHUNK_SIZE)
        return !flush(replay) && !all;
    return true;
}

/* Where to. Without --to: the dead letters' own brokers. */
static int open_target(struct replay *replay)
{
    struct weir_client *client = replay->client;
    const char *to = client->to;
    if (!to && replay->place->store)
        return weir_client_fail(
            client, EXIT_USAGE, NULL,
            "--to says where: a directory, or kafka://BROKERS[/TOPIC] (the topic each record is from)");
    char *own = to ? NULL : weir_format("kafka://%s", replay->place->properties[0].value);
    bool is_topic = dlq_parse_brokers(client, to ? to : own, &replay->target);
    free(own);
    if (is_topic) {
        char id[64];
        const struct dlq_place *place = replay->place;
        const char *name = place->store ? weir_store_uri(place->store) : place->topic;
        snprintf(id, sizeof id, "weir-dlq-replay-%016" PRIx64, weir_xxh3(name, strlen(name)));
        return weir_kafka_replay_open(replay->target.properties, replay->target.property_count, id, &replay->writer,
                                      &replay->error)
                   ? weir_client_fail(client, EXIT_FAILED, NULL, "%s", replay->error.message)
                   : EXIT_DONE;
    }
    replay->dir = to;
    replay->dir_fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (replay->dir_fd < 0)
        return weir_client_fail(client, EXIT_NOT_FOUND, NULL, "'%s': %s", to, strerror(errno));
    if (flock(replay->dir_fd, LOCK_EX | LOCK_NB) != 0)
        return weir_client_fail(client, EXIT_FAILED, NULL, "another replay is writing into '%s'", to);
    return EXIT_DONE;
}

static void say(const struct replay *replay)
{
    const struct weir_client *client = replay->client;
    if (client->json) {
        json_t *result = json_pack("{s:I, s:I, s:I, s:I, s:b}", "replayed", (json_int_t)replay->sent, "replayed-before",
                                   (json_int_t)replay->before, "cut", (json_int_t)replay->cut, "without-topic",
                                   (json_int_t)replay->nowhere, "dry-run", client->dry_run);
        weir_client_print_json(result);
        json_decref(result);
        return;
    }
    printf("%" PRId64 " %s\n", replay->sent, client->dry_run ? "would be replayed" : "replayed");
    if (replay->before)
        printf("%" PRId64 " were replayed before (--again repeats them)\n", replay->before);
    if (replay->cut)
        printf("%" PRId64
               " are not whole: their records were longer than dead-letter.size-max; see where they are from\n",
               replay->cut);
    if (replay->nowhere)
        printf("%" PRId64 " are from no topic: --to kafka://BROKERS/TOPIC, or a directory\n", replay->nowhere);
}

int dlq_replay(struct weir_client *client, struct dlq_place *place)
{
    struct replay replay = {
        .client = client, .place = place, .dir_fd = -1, .letters = json_array(), .ids = json_array()};
    int exit_code = open_target(&replay);
    if (exit_code == EXIT_DONE) {
        replay.err = dlq_read_marks(place, &replay.error);
        if (!replay.err && !client->dry_run)
            replay.err = replay.dir ? show_marked(&replay) : settle(&replay);
        weir_err err = replay.err ? replay.err : dlq_read(place, take, &replay, &replay.error);
        if (!err && !replay.err)
            err = flush(&replay);
        if (err || replay.err)
            exit_code = weir_client_fail(client, EXIT_FAILED, NULL, "%s (%" PRId64 " were replayed)",
                                         replay.error.message, replay.sent);
        else
            say(&replay);
    }
    weir_kafka_replay_close(replay.writer);
    dlq_close(&replay.target);
    if (replay.dir_fd >= 0)
        close(replay.dir_fd);
    json_decref(replay.letters);
    json_decref(replay.ids);
    return exit_code;
}
