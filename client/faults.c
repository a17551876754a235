/* fault list|reset|arm: fault points of a cluster that was started for tests. */
#include <string.h>

#include "client_int.h"

static int usage(struct weir_client *client)
{
    return weir_client_fail(client, EXIT_USAGE, NULL,
                            "it is weir fault list, weir fault reset, or weir fault arm POINT[:NTH] ACTION");
}

static void print_faults(struct weir_client *client, const json_t *points)
{
    static const char *const titles[] = {"POINT", ">PASSES", "ARMED", ">ACTED", ">PID", "WHERE", NULL};
    struct weir_table table;
    size_t i;
    json_t *point;
    weir_table_init(&table, titles);
    json_array_foreach(points, i, point)
    {
        const json_t *armed = json_object_get(point, "armed");
        const char *taskmanager = weir_json_text(point, "taskmanager");
        int64_t pid = weir_json_number(point, "pid");
        weir_table_add(&table, WEIR_COLOR_NONE, "%s", weir_json_text(point, "name"));
        weir_table_add(&table, WEIR_COLOR_NONE, "%lld", (long long)weir_json_number(point, "passes"));
        if (json_is_object(armed))
            weir_table_add(&table, WEIR_COLOR_WARN, "%s in %lld", weir_json_text(armed, "action"),
                           (long long)weir_json_number(armed, "passes-left"));
        else
            weir_table_add(&table, WEIR_COLOR_NONE, "-");
        weir_table_add(&table, WEIR_COLOR_NONE, "%lld", (long long)weir_json_number(point, "acted"));
        weir_table_add(&table, WEIR_COLOR_NONE, pid > 0 ? "%lld" : "-", (long long)pid);
        weir_table_add(&table, WEIR_COLOR_NONE, "%s%s%s", weir_json_text(point, "help"), *taskmanager ? "; " : "",
                       taskmanager);
    }
    weir_table_print(client, &table);
}

static int list(struct weir_client *client)
{
    json_t *reply, *point;
    int exit_code = weir_client_call(client, "GET", "/weir/faults", NULL, &reply);
    if (exit_code != EXIT_DONE)
        return exit_code;
    json_t *shown = json_array();
    size_t i;
    json_array_foreach(json_object_get(reply, "points"), i,
                       point) if (client->all || weir_json_number(point, "passes") > 0 ||
                                  json_is_object(json_object_get(point, "armed"))) json_array_append(shown, point);
    bool enabled = json_is_true(json_object_get(reply, "enabled"));
    if (client->json)
        weir_client_print_json(shown);
    else if (json_array_size(shown) > 0)
        print_faults(client, shown);
    if (!enabled)
        weir_client_note(client, "fault points are off: start the cluster with -D testing.fault-points=true");
    else if (json_array_size(shown) == 0 && !client->json)
        printf("no point was passed yet; weir fault list -a prints all there are\n");
    json_decref(shown);
    json_decref(reply);
    return EXIT_DONE;
}

static int change(struct weir_client *client, const char *method, json_t *body)
{
    json_t *reply = NULL;
    int exit_code = weir_client_call(client, method, "/weir/faults", body, &reply);
    json_decref(reply);
    json_decref(body);
    return exit_code;
}

int weir_command_fault(struct weir_client *client)
{
    const char *verb = client->arguments[0];
    if (strcmp(verb, "list") == 0 && client->argument_count == 1)
        return list(client);
    if (strcmp(verb, "reset") == 0 && client->argument_count == 1)
        return change(client, "DELETE", NULL);
    if (strcmp(verb, "arm") == 0 && client->argument_count == 3)
        return change(client, "POST",
                      json_pack("{s:o, s:o}", "point", weir_client_string(client->arguments[1]), "action",
                                weir_client_string(client->arguments[2])));
    return usage(client);
}
