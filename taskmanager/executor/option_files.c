/* See option_files.h. In the process that builds a graph, once, before the graph is checked. */
#include "executor/option_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/format.h"
#include "format/simdjson_shim.h"
#include "format/text_int.h"
#include "graph/graph_build.h"

#define FILE_SIZE_MAX ((size_t)4 << 20) /* a graph has 16 MiB at most */

/* The options of keys and values of messages are a format's, behind "key." or "value.". */
static const struct weir_option *file_option(const char *key)
{
    if (strncmp(key, "key.", 4) == 0 || strncmp(key, "value.", 6) == 0)
        key = strchr(key, '.') + 1;
    for (int i = 0; weir_formats[i]; i++) {
        const struct weir_option *option = weir_option_find(weir_formats[i]->options, key);
        if (option && option->type == WEIR_OPTION_FILE)
            return option;
    }
    return NULL;
}

static bool is_content(const char *value)
{
    return !*value || strchr("{[\"", *value) || strncmp(value, "base64:", 7) == 0 || strpbrk(value, ";\n");
}

static weir_err read_file(const char *path, struct weir_buf *into, struct weir_error *error)
{
    struct stat about;
    FILE *file = fopen(path, "re");
    if (!file)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot read '%.300s'", path);
    weir_err err = WEIR_OK;
    if (fstat(fileno(file), &about) || !S_ISREG(about.st_mode))
        err = weir_fail(error, WEIR_ERR_INVALID, "'%.300s' is not a file", path);
    char part[16384];
    for (size_t size; !err && (size = fread(part, 1, sizeof part, file)) > 0;)
        if (!weir_buf_append(into, part, size))
            err = weir_fail(error, WEIR_ERR_FULL, "'%.300s' is larger than %zu MiB", path, FILE_SIZE_MAX >> 20);
    if (!err && ferror(file))
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot read '%.300s'", path);
    fclose(file);
    if (!err && into->size == 0)
        err = weir_fail(error, WEIR_ERR_INVALID, "'%.300s' is empty", path);
    return err;
}

static weir_err inlined(const struct weir_option *option, Weir__KeyValue *pair, struct weir_error *error)
{
    struct weir_buf content;
    weir_buf_init(&content, FILE_SIZE_MAX);
    weir_err err = read_file(pair->value, &content, error);
    bool binary = option->choices && strcmp(option->choices, "binary") == 0;
    if (err) {
        weir_wrap(error, "'%s'", pair->key);
    } else if (binary) {
        char *text = weir_alloc(content.size / 3 * 4 + 16);
        memcpy(text, "base64:", 7);
        text[7 + weir_base64_encode(content.data, content.size, text + 7)] = 0;
        weir_graph_text(&pair->value, text);
        free(text);
    } else if (!weir_utf8_valid(content.data, content.size) || memchr(content.data, 0, content.size)) {
        err = weir_fail(error, WEIR_ERR_INVALID, "'%s': '%.300s' is not a text", pair->key, pair->value);
    } else {
        weir_graph_text(&pair->value, (const char *)content.data);
    }
    weir_buf_fini(&content);
    return err;
}

void weir_option_files_read(Weir__JobGraph *graph, struct weir_graph_errors *errors)
{
    struct weir_error error;
    for (size_t v = 0; v < graph->n_vertices; v++) {
        Weir__Vertex *vertex = graph->vertices[v];
        for (size_t i = 0; i < vertex->n_options; i++) {
            Weir__KeyValue *pair = vertex->options[i];
            const struct weir_option *option = file_option(pair->key);
            if (!option || is_content(pair->value) || weir_graph_errors_has(errors, vertex->id))
                continue;
            if (inlined(option, pair, &error))
                weir_graph_errors_add(errors, vertex->id, vertex->name, vertex->location, "%s", error.message);
        }
    }
}
