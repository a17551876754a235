/* See graph_errors.h. */
#include "graph/graph_errors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void weir_graph_errors_add(struct weir_graph_errors *errors, uint32_t vertex_id, const char *operator_name,
                           const char *location, const char *format, ...)
{
    if (errors->count == WEIR_GRAPH_ERRORS_MAX) {
        errors->dropped++;
        return;
    }
    struct weir_graph_error *item = &errors->items[errors->count++];
    char message[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    *item =
        (struct weir_graph_error){vertex_id, weir_strdup(operator_name), weir_strdup(location), weir_strdup(message)};
}

bool weir_graph_errors_has(const struct weir_graph_errors *errors, uint32_t vertex_id)
{
    for (int i = 0; i < errors->count; i++)
        if (errors->items[i].vertex_id == vertex_id)
            return true;
    return false;
}

/* By file, then line; those without a place come last. Insertion sort keeps the order of equals. */
static int compare_places(const struct weir_graph_error *a, const struct weir_graph_error *b)
{
    const char *colon_a = strrchr(a->location, ':'), *colon_b = strrchr(b->location, ':');
    if (!colon_a || !colon_b)
        return !colon_a - !colon_b;
    size_t size_a = (size_t)(colon_a - a->location), size_b = (size_t)(colon_b - b->location);
    if (size_a != size_b || memcmp(a->location, b->location, size_a) != 0)
        return 0;
    return atoi(colon_a + 1) - atoi(colon_b + 1);
}

bool weir_graph_errors_print(struct weir_graph_errors *errors, struct weir_buf *out)
{
    for (int i = 1; i < errors->count; i++) {
        struct weir_graph_error item = errors->items[i];
        int at = i;
        for (; at > 0 && compare_places(&errors->items[at - 1], &item) > 0; at--)
            errors->items[at] = errors->items[at - 1];
        errors->items[at] = item;
    }
    for (int i = 0; i < errors->count; i++) {
        const struct weir_graph_error *item = &errors->items[i];
        size_t name_size = strlen(item->operator_name);
        /* Operators begin their sentences with their own name; it is not said twice. */
        bool named = name_size == 0 ||
                     (strncmp(item->message, item->operator_name, name_size) == 0 && item->message[name_size] == ':');
        if (!weir_buf_printf(out, "%s%s%s%s%s\n", item->location, item->location[0] ? ": " : "",
                             named ? "" : item->operator_name, named ? "" : ": ", item->message))
            return false;
    }
    return errors->dropped == 0 || weir_buf_printf(out, "and %d more errors\n", errors->dropped);
}

void weir_graph_errors_fini(struct weir_graph_errors *errors)
{
    for (int i = 0; i < errors->count; i++) {
        free(errors->items[i].operator_name);
        free(errors->items[i].location);
        free(errors->items[i].message);
    }
    *errors = (struct weir_graph_errors){0};
}
