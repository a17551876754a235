/* Fault points over REST, for tests: GET, POST {"point": "POINT[:NTH]", "action": "kill|stop|error|delay=MS"} and DELETE of /weir/faults. */
#include <string.h>

#include "jobmanager/rest/rest_int.h"

static json_t *fault_json(const struct weir_view_fault *fault)
{
    const struct weir_fault_state *state = &fault->state;
    json_t *armed = state->left
                        ? json_pack("{s:s, s:I}", "action", state->action, "passes-left", (json_int_t)state->left)
                        : json_null();
    return json_pack("{s:s, s:s, s:b, s:I, s:o, s:I, s:i, s:s}", "name", state->name, "help", state->help, "can-fail",
                     (int)state->fails, "passes", (json_int_t)state->passes, "armed", armed, "acted",
                     (json_int_t)state->acted, "pid", (int)state->pid, "taskmanager", fault->taskmanager);
}

void weir_rest_faults(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    const struct weir_cluster_view *view = weir_rest_view(request);
    const struct weir_view_fault *faults = NULL;
    int count = 0;
    struct weir_arena arena;
    weir_arena_init(&arena);
    if (view->faults)
        view->faults(view->self, &arena, &faults, &count);
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, fault_json(&faults[i]));
    weir_http_json(response, 200,
                   json_pack("{s:b, s:o}", "enabled", (int)(weir_fault_table_id() != 0), "points", list));
    weir_arena_fini(&arena);
}

static void arm(const struct weir_http_server_request *request, struct weir_http_server_response *response,
                const char *point, const char *action)
{
    const struct weir_cluster_view *view = weir_rest_view(request);
    struct weir_error error;
    if (!view->fault_arm)
        weir_http_fail(response, 404, "There are no fault points here.");
    else if (view->fault_arm(view->self, point, action, &error))
        weir_rest_fail(response, &error);
    else
        weir_http_json(response, 200, json_object());
}

void weir_rest_fault_arm(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    json_t *body = request->body
                       ? json_loadb((const char *)request->body, request->body_size, JSON_REJECT_DUPLICATES, NULL)
                       : NULL;
    const char *point = json_string_value(json_object_get(body, "point"));
    const char *action = json_string_value(json_object_get(body, "action"));
    if (point && action && *action)
        arm(request, response, point, action);
    else
        weir_http_fail(
            response, 400,
            "Bad request: the body is {\"point\": \"POINT[:NTH]\", \"action\": \"kill|stop|error|delay=MS\"}.");
    json_decref(body);
}

void weir_rest_faults_reset(const struct weir_http_server_request *request, struct weir_http_server_response *response)
{
    arm(request, response, "", "");
}
