/* weir dlq: dead letters listed by code, shown, and replayed (dlq_replay.c). */
#include "dlq.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_memory.h"

/* --- list */

struct listing {
    struct dlq_place *place;
    json_t *groups; /* by job and code */
};

static bool count_letter(const char *id, json_t *letter, void *arg)
{
    struct listing *listing = arg;
    char *name = weir_format("%s %s", weir_json_text(letter, "job_id"), weir_json_text(letter, "code"));
    json_t *group = json_object_get(listing->groups, name);
    if (!group) {
        group = json_pack("{s:O?, s:O?, s:O?, s:i, s:i}", "code", json_object_get(letter, "code"), "job-id",
                          json_object_get(letter, "job_id"), "job-name", json_object_get(letter, "job_name"), "count",
                          0, "replayed", 0);
        json_object_set_new(listing->groups, name, group);
    }
    json_object_set_new(group, "count", json_integer(weir_json_number(group, "count") + 1));
    if (json_object_get(listing->place->replayed, id))
        json_object_set_new(group, "replayed", json_integer(weir_json_number(group, "replayed") + 1));
    if (strcmp(weir_json_text(letter, "failed_at"), weir_json_text(group, "newest")) > 0) {
        json_object_set(group, "newest", json_object_get(letter, "failed_at"));
        json_object_set(group, "error", json_object_get(letter, "error"));
        json_object_set(group, "position", json_object_get(letter, "position"));
    }
    free(name);
    return true;
}

static int list(struct weir_client *client, struct dlq_place *place)
{
    struct weir_error error;
    struct listing listing = {place, json_object()};
    weir_err err = dlq_read_marks(place, &error);
    if (!err)
        err = dlq_read(place, count_letter, &listing, &error);
    int exit_code = EXIT_DONE;
    const char *name;
    json_t *group;
    if (err) {
        exit_code = weir_client_fail(client, err == WEIR_ERR_NOT_FOUND ? EXIT_NOT_FOUND : EXIT_FAILED, NULL, "%s",
                                     error.message);
    } else if (client->json) {
        json_t *all = json_array();
        json_object_foreach(listing.groups, name, group) json_array_append(all, group);
        weir_client_print_json(all);
        json_decref(all);
    } else {
        struct weir_table table;
        weir_table_init(&table,
                        (const char *const[]){"CODE", ">COUNT", ">REPLAYED", "NEWEST", "JOB", "NEWEST ERROR", NULL});
        json_object_foreach(listing.groups, name, group)
        {
            char *text = weir_client_clean(weir_json_text(group, "error"));
            weir_table_add(&table, WEIR_COLOR_WARN, "%s", weir_json_text(group, "code"));
            weir_table_add(&table, WEIR_COLOR_NONE, "%" PRId64, weir_json_number(group, "count"));
            weir_table_add(&table, WEIR_COLOR_NONE, "%" PRId64, weir_json_number(group, "replayed"));
            weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_json_text(group, "newest"));
            weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_json_text(group, "job-name"));
            weir_table_add(&table, WEIR_COLOR_NONE, "%s", text);
            free(text);
        }
        weir_table_print(client, &table);
    }
    json_decref(listing.groups);
    return exit_code;
}

/* --- show */

struct showing {
    const struct weir_client *client;
    int64_t shown;
};

/* null: the bytes are no UTF-8, or there are none. */
static json_t *text_of(const json_t *letter, const char *member)
{
    size_t size;
    uint8_t *bytes = dlq_bytes(letter, member, &size);
    json_t *text = bytes ? json_stringn((const char *)bytes, size) : NULL;
    free(bytes);
    return text ? text : json_null();
}

static bool show_letter(const char *id, json_t *letter, void *arg)
{
    struct showing *showing = arg;
    if (showing->client->code && strcmp(weir_json_text(letter, "code"), showing->client->code) != 0)
        return true;
    json_object_set_new(letter, "key_text", text_of(letter, "key"));
    if (!json_object_get(letter, "record"))
        json_object_set_new(letter, "record", text_of(letter, "value"));
    json_object_set_new(letter, "id", json_string(id));
    weir_client_print_json_line(letter);
    return ++showing->shown != showing->client->limit;
}

static int show(struct weir_client *client, struct dlq_place *place)
{
    struct weir_error error;
    struct showing showing = {client, 0};
    weir_err err = dlq_read(place, show_letter, &showing, &error);
    return err ? weir_client_fail(client, err == WEIR_ERR_NOT_FOUND ? EXIT_NOT_FOUND : EXIT_FAILED, NULL, "%s",
                                  error.message)
               : EXIT_DONE;
}

int weir_command_dlq(struct weir_client *client)
{
    static const struct {
        const char *name;
        int (*run)(struct weir_client *client, struct dlq_place *place);
    } actions[] = {{"list", list}, {"show", show}, {"replay", dlq_replay}};
    char nearest[160];
    weir_json_memory();
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        if (strcmp(client->arguments[0], actions[i].name) != 0)
            continue;
        struct dlq_place place;
        int exit_code = dlq_open(client, client->arguments[1], &place);
        if (exit_code == EXIT_DONE)
            exit_code = actions[i].run(client, &place);
        dlq_close(&place);
        return exit_code;
    }
    return weir_client_fail(client, EXIT_USAGE, NULL, "'%.100s' is none of list, show, replay%s", client->arguments[0],
                            weir_client_nearest_choice(nearest, client->arguments[0], "list|show|replay"));
}
