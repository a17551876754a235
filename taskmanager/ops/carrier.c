/* Carriers: the connector of a source, splits or sink vertex, the format of its values and that of its keys.
 *
 * A format's options are "json.NAME" beside 'format' = 'json', "value.json.NAME" beside 'value.format' = 'json', and "key.json.NAME" for keys:
 * Flink's names. The format itself knows "json.NAME" only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/ops_int.h"

#define KEY "key."
#define VALUE "value."

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* NULL: it is not given, or empty. */
static const char *given(const struct weir_op_plan *plan, const char *name)
{
    for (int i = 0; i < plan->option_count; i++)
        if (strcmp(plan->options[i].key, name) == 0 && plan->options[i].value[0])
            return plan->options[i].value;
    return NULL;
}

/* --- Which format */

static weir_err find_format(const char *option, const char *name, bool sink, const struct weir_format **format,
                            struct weir_error *error)
{
    weir_err err = weir_format_find(name, format, error);
    if (err)
        return weir_wrap(error, "'%s'", option);
    if (!(sink ? (void *)(*format)->encoder_new : (void *)(*format)->decoder_new))
        return weir_fail(error, WEIR_ERR_INVALID, "'%s': format '%s' cannot be %s", option, name,
                         sink ? "written" : "read");
    return WEIR_OK;
}

static weir_err find_value_format(const struct weir_op_plan *plan, enum weir_carrier_use use,
                                  struct weir_op_carrier *carrier, struct weir_error *error)
{
    const struct weir_connector *connector = carrier->connector;
    const char *format = given(plan, "format"), *of_values = given(plan, "value.format");
    bool sink = use == WEIR_CARRIER_SINK;
    bool has_messages = sink ? connector->write_messages != NULL : connector->read_messages != NULL;
    if (of_values && !has_messages)
        return weir_fail(error, WEIR_ERR_INVALID, "connector '%s' has no keys: 'format' instead of 'value.format'",
                         connector->name);
    if (format && of_values)
        return weir_fail(error, WEIR_ERR_INVALID, "'format' and 'value.format' are the same: leave one out");
    carrier->value_prefix = of_values ? VALUE : "";
    format = format ? format : of_values;
    if (!format)
        return connector->rows || use == WEIR_CARRIER_SPLITS
                   ? WEIR_OK
                   : weir_fail(error, WEIR_ERR_INVALID,
                               "connector '%s' needs the option 'format', as in 'format' = 'json'", connector->name);
    if (!has_messages && !(sink ? (void *)connector->write : (void *)connector->read))
        return weir_fail(error, WEIR_ERR_INVALID, "connector '%s' carries rows: leave out the option 'format'",
                         connector->name);
    return find_format(of_values ? "value.format" : "format", format, sink, &carrier->format, error);
}

static weir_err find_key_format(const struct weir_op_plan *plan, bool sink, struct weir_op_carrier *carrier,
                                struct weir_error *error)
{
    const char *format = given(plan, "key.format");
    if (!given(plan, "key.fields"))
        return format ? weir_fail(error, WEIR_ERR_INVALID, "'key.format' needs 'key.fields': which columns are the key")
                      : WEIR_OK;
    return find_format("key.format", format ? format : "raw", sink, &carrier->key_format, error);
}

/* --- Their options */

static bool is_own(const struct weir_option *own, const char *key)
{
    for (; own->name; own++)
        if (strcmp(own->name, key) == 0)
            return true;
    return false;
}

/* The option's name of the format, as it stands in the graph. */
static const char *with_prefix(const char *prefix, const char *name, char text[200])
{
    snprintf(text, 200, "%s%s", prefix, name);
    return text;
}

static weir_err unknown_option(const char *what, const char *key, const char *prefix, const struct weir_format *format,
                               const struct weir_option *own, struct weir_error *error)
{
    const char *rest = key + strlen(prefix);
    const char *near = format ? weir_option_nearest(rest, format->options, NULL, NULL) : NULL;
    if (near)
        return weir_fail(error, WEIR_ERR_INVALID, "%s: unknown option '%s'; did you mean '%s%s'?", what, key, prefix,
                         near);
    near = weir_option_nearest(key, own, NULL, NULL);
    if (near)
        return weir_fail(error, WEIR_ERR_INVALID, "%s: unknown option '%s'; did you mean '%s'?", what, key, near);
    return weir_fail(error, WEIR_ERR_INVALID, "%s: unknown option '%s'%s%s%s", what, key,
                     format ? "; the format there is '" : "", format ? format->name : "", format ? "'" : "");
}

/* Options that begin with `prefix` and are not the operator's own are the format's (NULL: none takes them). */
static weir_err check_options(const char *what, const struct weir_op_plan *plan, const char *prefix,
                              const struct weir_format *format, const struct weir_option *own, struct weir_error *error)
{
    char name[200];
    for (int i = 0; i < plan->option_count; i++) {
        const char *key = plan->options[i].key;
        if (!begins_with(key, prefix) || is_own(own, key))
            continue;
        const struct weir_option *option = format ? weir_option_find(format->options, key + strlen(prefix)) : NULL;
        if (!option)
            return unknown_option(what, key, prefix, format, own, error);
        struct weir_option named = *option;
        named.name = key;
        weir_err err = weir_option_check_value(what, &named, plan->options[i].value, error);
        if (err)
            return err;
    }
    for (const struct weir_option *o = format ? format->options : NULL; o && o->name; o++)
        if (!o->fallback && !given(plan, with_prefix(prefix, o->name, name)))
            return weir_fail(error, WEIR_ERR_INVALID, "%s: option '%s' is missing (%s)", what, name,
                             o->help ? o->help : "required");
    return WEIR_OK;
}

weir_err weir_op_carrier_find(const struct weir_op_plan *plan, const struct weir_option *own, enum weir_carrier_use use,
                              struct weir_op_carrier *carrier, struct weir_error *error)
{
    bool sink = use == WEIR_CARRIER_SINK;
    const char *name = given(plan, "connector");
    *carrier = (struct weir_op_carrier){.value_prefix = ""};
    if (!name)
        return weir_fail(error, WEIR_ERR_INVALID, "option 'connector' is missing");
    weir_err err = weir_connector_find(name, &carrier->connector, error);
    if (err)
        return err;
    const struct weir_connector *connector = carrier->connector;
    const struct weir_option *table = sink ? connector->sink_options : connector->source_options;
    if (!table)
        return weir_fail(error, WEIR_ERR_INVALID, "connector '%s' cannot be a %s", name, sink ? "sink" : "source");
    if ((err = find_value_format(plan, use, carrier, error)) || (err = find_key_format(plan, sink, carrier, error)))
        return err;
    bool plain = carrier->format && !carrier->value_prefix[0];
    char what[128];
    snprintf(what, sizeof what, "connector '%s'", name);
    if ((err = weir_options_check(what, plan->options, plan->option_count, own, table,
                                  plain ? carrier->format->options : NULL, error)) ||
        (err = check_options(what, plan, VALUE, plain ? NULL : carrier->format, own, error)) ||
        (err = check_options(what, plan, KEY, carrier->key_format, own, error)))
        return err;
    if (connector->check && (err = connector->check(plan->options, plan->option_count, sink, error)))
        return weir_wrap(error, "%s", what);
    return WEIR_OK;
}

/* --- Decoders and encoders */

struct format_options {
    const struct weir_format *format;
    struct weir_key_value *list;
    int count;
    char *texts[2]; /* made here, or NULL */
};

/* A schema that is kept under a subject: TOPIC-value by the format itself, so a key's must be said. */
static void say_subject(const struct weir_op_plan *plan, struct format_options *options)
{
    char *name = weir_format("%s.subject", options->format->name);
    const char *topic = given(plan, "topic");
    bool wanted = weir_option_find(options->format->options, name) && topic && !strpbrk(topic, ",;");
    for (int i = 0; i < options->count; i++)
        wanted &= strcmp(options->list[i].key, name) != 0 || !options->list[i].value[0];
    options->texts[0] = name;
    if (!wanted)
        return;
    options->texts[1] = weir_format("%s-key", topic);
    options->list[options->count++] = (struct weir_key_value){name, options->texts[1]};
}

/* The plan's options as the format knows them: its own without the prefix, and those of no format. */
static void take_options(const struct weir_op_plan *plan, const struct weir_op_carrier *carrier,
                         enum weir_message_part part, struct format_options *options)
{
    const char *prefix = part == WEIR_PART_KEY ? KEY : carrier->value_prefix;
    *options = (struct format_options){part == WEIR_PART_KEY ? carrier->key_format : carrier->format, NULL, 0, {NULL}};
    options->list = weir_alloc((size_t)(plan->option_count + 1) * sizeof *options->list);
    for (int i = 0; i < plan->option_count; i++) {
        struct weir_key_value option = plan->options[i];
        bool has_prefix = prefix[0] && begins_with(option.key, prefix);
        if (has_prefix)
            option.key += strlen(prefix);
        else if (prefix[0] && weir_option_find(options->format->options, option.key))
            continue; /* the other part's */
        options->list[options->count++] = option;
    }
    if (part == WEIR_PART_KEY)
        say_subject(plan, options);
}

static void free_options(struct format_options *options)
{
    free(options->list);
    free(options->texts[0]);
    free(options->texts[1]);
}

weir_err weir_op_decoder_new(const struct weir_op_plan *plan, const struct weir_op_carrier *carrier,
                             enum weir_message_part part, struct weir_schema *schema, struct weir_decoder **decoder,
                             struct weir_error *error)
{
    struct format_options options;
    take_options(plan, carrier, part, &options);
    weir_err err = options.format->decoder_new(schema, options.list, options.count, decoder, error);
    free_options(&options);
    return err;
}

weir_err weir_op_encoder_new(const struct weir_op_plan *plan, const struct weir_op_carrier *carrier,
                             enum weir_message_part part, struct weir_schema *schema, struct weir_encoder **encoder,
                             struct weir_error *error)
{
    struct format_options options;
    take_options(plan, carrier, part, &options);
    weir_err err = options.format->encoder_new(schema, options.list, options.count, encoder, error);
    free_options(&options);
    return err;
}
