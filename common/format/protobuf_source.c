/* A Protobuf schema from .proto text: proto2, proto3, and editions with the features that matter to the wire.
 *
 * What says nothing about the wire is passed over: services, extensions, reserved names, options other than packed, default and features.
 * (Fields that extend another file's message are unknown fields to this format.) One pass over tokens; messages may be nested as deep as
 * protoc allows, so that recursion is bounded. Errors name file and line.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/protobuf_schema_int.h"
#include "format/protobuf_wire.h"

enum token_kind { END, NAME, NUMBER, STRING, SIGN };

struct parser {
    struct weir_proto_schema *schema;
    const char *file;
    int number; /* of the file */
    const char *at;
    int line;
    enum token_kind kind; /* the token at hand */
    const char *token;
    size_t size;
    int token_line;
    const char *package;
    bool proto3;
    struct weir_proto_features features;
    struct weir_error *error;
    weir_err err; /* the first; then every token is END */
};

static void wrong(struct parser *parser, const char *what)
{
    if (parser->err)
        return;
    parser->err =
        weir_fail(parser->error, WEIR_ERR_INVALID, "%.200s, line %d: %s%s%.*s%s", parser->file, parser->token_line,
                  what, parser->kind == END ? " at the end" : ", not '", parser->size < 60 ? (int)parser->size : 60,
                  parser->kind == END ? "" : parser->token, parser->kind == END ? "" : "'");
    parser->kind = END;
    parser->size = 0;
}

/* --- Tokens */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void skip_blanks(struct parser *parser)
{
    const char *at = parser->at;
    for (;; at++) {
        if (*at == '\n')
            parser->line++;
        else if (at[0] == '/' && at[1] == '/')
            at += strcspn(at, "\n") - 1;
        else if (at[0] == '/' && at[1] == '*') {
            const char *close = strstr(at + 2, "*/");
            const char *end = close ? close + 2 : at + strlen(at);
            for (; at < end; at++)
                parser->line += *at == '\n';
            at--;
        } else if (*at != ' ' && *at != '\t' && *at != '\r' && *at != '\f' && *at != '\v')
            break;
    }
    parser->at = at;
}

/* Names are taken whole, with their points. */
static void advance(struct parser *parser)
{
    if (parser->err)
        return;
    skip_blanks(parser);
    const char *at = parser->at;
    parser->token = at;
    parser->token_line = parser->line;
    if (!*at)
        parser->kind = END;
    else if (is_letter(*at) || (*at == '.' && is_letter(at[1]))) {
        parser->kind = NAME;
        for (at++; is_letter(*at) || is_digit(*at) || (*at == '.' && is_letter(at[1])); at++)
            ;
    } else if (is_digit(*at) || (*at == '.' && is_digit(at[1]))) {
        parser->kind = NUMBER;
        for (at++; is_letter(*at) || is_digit(*at) || *at == '.' ||
                   ((*at == '-' || *at == '+') && (at[-1] == 'e' || at[-1] == 'E') && parser->token[1] != 'x');
             at++)
            ;
    } else if (*at == '"' || *at == '\'') {
        char quote = *at;
        parser->kind = STRING;
        for (at++; *at && *at != quote && *at != '\n'; at++)
            at += *at == '\\' && at[1] && at[1] != '\n';
        parser->size = (size_t)(at - parser->token);
        if (*at != quote) {
            wrong(parser, "a string that is not closed");
            return;
        }
        at++;
    } else {
        parser->kind = SIGN;
        at++;
    }
    parser->size = (size_t)(at - parser->token);
    parser->at = at;
}

static bool is(const struct parser *parser, const char *text)
{
    return parser->kind != END && parser->kind != STRING && strlen(text) == parser->size &&
           memcmp(parser->token, text, parser->size) == 0;
}

static bool accept(struct parser *parser, const char *text)
{
    if (!is(parser, text))
        return false;
    advance(parser);
    return true;
}

static void expect(struct parser *parser, const char *text)
{
    char what[64];
    if (accept(parser, text))
        return;
    snprintf(what, sizeof what, "'%s' is missing", text);
    wrong(parser, what);
}

static const char *take_name(struct parser *parser, const char *what)
{
    if (parser->kind != NAME) {
        wrong(parser, what);
        return "";
    }
    const char *name = weir_arena_strndup(&parser->schema->arena, parser->token, parser->size);
    advance(parser);
    return name;
}

static int64_t take_int(struct parser *parser, int64_t min, int64_t max)
{
    char text[32], *end = text;
    bool minus = accept(parser, "-");
    if (parser->kind == NUMBER && parser->size < sizeof text) {
        memcpy(text, parser->token, parser->size);
        text[parser->size] = 0;
        errno = 0;
        long long value = strtoll(text, &end, 0);
        value = minus ? -value : value;
        if (!*end && end > text && !errno && value >= min && value <= max) {
            advance(parser);
            return value;
        }
    }
    wrong(parser, "a whole number in its range is missing");
    return 0;
}

/* The string at hand and those that follow it, without quotes, escapes as they are. */
static const char *take_string(struct parser *parser)
{
    struct weir_buf text;
    weir_buf_init(&text, (size_t)16 << 20);
    if (parser->kind != STRING)
        wrong(parser, "a string is missing");
    bool ok = weir_buf_puts(&text, "");
    while (parser->kind == STRING && ok) {
        ok = weir_buf_append(&text, parser->token + 1, parser->size - 2);
        advance(parser);
    }
    const char *copy = weir_arena_strndup(&parser->schema->arena, text.data ? (const char *)text.data : "", text.size);
    weir_buf_fini(&text);
    return copy;
}

/* To behind the next ';' or the '{...}' that comes first. */
static void skip_statement(struct parser *parser)
{
    int depth = 0;
    for (; parser->kind != END; advance(parser)) {
        if (is(parser, "{"))
            depth++;
        else if (is(parser, "}") && depth > 0 && --depth == 0) {
            advance(parser);
            (void)accept(parser, ";");
            if (!is(parser, "]") && !is(parser, ",")) /* else the braces were an option's value */
                return;
        } else if (is(parser, "}") && depth == 0)
            break; /* the block around it ends */
        else if (is(parser, ";") && depth == 0) {
            advance(parser);
            return;
        }
    }
    wrong(parser, "a statement that does not end");
}

/* --- Options */

static void set_feature(struct weir_proto_features *features, bool *required, const char *name, const char *value)
{
    if (strcmp(name, "field_presence") == 0) {
        features->implicit_presence = strcmp(value, "IMPLICIT") == 0;
        if (required)
            *required = strcmp(value, "LEGACY_REQUIRED") == 0;
    } else if (strcmp(name, "enum_type") == 0)
        features->closed_enum = strcmp(value, "CLOSED") == 0;
    else if (strcmp(name, "repeated_field_encoding") == 0)
        features->packed = strcmp(value, "PACKED") == 0;
    else if (strcmp(name, "message_encoding") == 0)
        features->delimited = strcmp(value, "DELIMITED") == 0;
}

/* Behind the name of an option that is not looked at: its value, up to ';', or to ',' or ']' outside of braces. */
static void skip_value(struct parser *parser)
{
    int depth = 0;
    for (; parser->kind != END; advance(parser)) {
        if (depth == 0 && (is(parser, ";") || is(parser, ",") || is(parser, "]")))
            return;
        depth += is(parser, "{") || is(parser, "[") ? 1 : is(parser, "}") || is(parser, "]") ? -1 : 0;
    }
}

/* "features.x = Y;", others are passed over. */
static void option_statement(struct parser *parser, struct weir_proto_features *features)
{
    if (parser->kind == NAME && parser->size > 9 && memcmp(parser->token, "features.", 9) == 0) {
        const char *name = take_name(parser, "an option's name is missing") + 9;
        expect(parser, "=");
        set_feature(features, NULL, name, take_name(parser, "the feature's value is missing"));
    } else {
        skip_statement(parser);
        return;
    }
    expect(parser, ";");
}

/* [ name = value, ... ] of a field. */
static void field_options(struct parser *parser, struct proto_draft *draft)
{
    struct weir_arena *arena = &parser->schema->arena;
    if (!accept(parser, "["))
        return;
    do {
        bool feature = parser->kind == NAME && parser->size > 9 && memcmp(parser->token, "features.", 9) == 0;
        if (is(parser, "packed")) {
            advance(parser);
            expect(parser, "=");
            draft->packed_said = accept(parser, "true") ? PROTO_PACKED_YES : PROTO_PACKED_NO;
            if (draft->packed_said == PROTO_PACKED_NO)
                expect(parser, "false");
        } else if (is(parser, "default")) {
            advance(parser);
            expect(parser, "=");
            bool minus = accept(parser, "-");
            if (parser->kind == STRING)
                draft->field.default_text = take_string(parser);
            else {
                draft->field.default_text =
                    weir_arena_format(arena, "%s%.*s", minus ? "-" : "", (int)parser->size, parser->token);
                advance(parser);
            }
        } else if (feature) {
            const char *name = take_name(parser, "") + 9;
            expect(parser, "=");
            set_feature(&draft->features, &draft->field.required, name,
                        take_name(parser, "the feature's value is missing"));
        } else {
            skip_value(parser);
        }
    } while (accept(parser, ","));
    expect(parser, "]");
}

/* --- Fields */

static enum weir_proto_type scalar_type(const char *name)
{
    static const struct {
        const char *name;
        enum weir_proto_type type;
    } scalars[] = {{"double", WEIR_PROTO_DOUBLE},     {"float", WEIR_PROTO_FLOAT},   {"int64", WEIR_PROTO_INT64},
                   {"uint64", WEIR_PROTO_UINT64},     {"int32", WEIR_PROTO_INT32},   {"fixed64", WEIR_PROTO_FIXED64},
                   {"fixed32", WEIR_PROTO_FIXED32},   {"bool", WEIR_PROTO_BOOL},     {"string", WEIR_PROTO_STRING},
                   {"bytes", WEIR_PROTO_BYTES},       {"uint32", WEIR_PROTO_UINT32}, {"sfixed32", WEIR_PROTO_SFIXED32},
                   {"sfixed64", WEIR_PROTO_SFIXED64}, {"sint32", WEIR_PROTO_SINT32}, {"sint64", WEIR_PROTO_SINT64}};
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++)
        if (strcmp(name, scalars[i].name) == 0)
            return scalars[i].type;
    return WEIR_PROTO_NAMED;
}

static void set_type(struct proto_draft *draft, const char *name)
{
    draft->field.type = scalar_type(name);
    draft->field.type_name = draft->field.type == WEIR_PROTO_NAMED ? name : NULL;
}

static void message_body(struct parser *parser, struct proto_message *message, struct weir_proto_features features,
                         int depth);

static struct proto_message *add_message(struct parser *parser, struct proto_message *outer, const char *name,
                                         bool map_entry)
{
    struct proto_message *message =
        weir_proto_add_message(parser->schema, parser->number, outer, outer ? outer->message.name : parser->package,
                               name, strlen(name), map_entry);
    if (!message)
        wrong(parser, "a message's name is too long, or there are too many");
    return message;
}

/* "= 3 [...]" */
static void field_tail(struct parser *parser, struct proto_draft *draft)
{
    expect(parser, "=");
    draft->field.number = (uint32_t)take_int(parser, 1, PB_NUMBER_MAX);
    field_options(parser, draft);
}

/* "map" is the token at hand, "<" follows. */
static void map_field(struct parser *parser, struct proto_message *message, struct weir_proto_features features)
{
    struct weir_arena *arena = &parser->schema->arena;
    expect(parser, "<");
    const char *key = take_name(parser, "the map's key type is missing");
    expect(parser, ",");
    const char *value = take_name(parser, "the map's value type is missing");
    expect(parser, ">");
    const char *name = take_name(parser, "the field's name is missing");
    struct proto_message *entry = add_message(parser, message, weir_arena_format(arena, "%sEntry", name), true);
    if (!entry)
        return;
    entry->message.index = -1;
    const char *const names[] = {"key", "value"};
    for (uint32_t i = 0; i < 2; i++) {
        struct proto_draft *draft = weir_proto_add_field(parser->schema, entry);
        draft->features = features;
        draft->field.name = names[i];
        draft->field.number = i + 1;
        set_type(draft, i == 0 ? key : value);
    }
    struct proto_draft *draft = weir_proto_add_field(parser->schema, message);
    draft->features = features;
    draft->field.name = name;
    draft->field.repeated = true;
    draft->field.type = WEIR_PROTO_MESSAGE;
    draft->field.type_name = weir_arena_format(arena, ".%s", entry->message.name);
    field_tail(parser, draft);
    expect(parser, ";");
}

static void group_field(struct parser *parser, struct proto_message *message, struct proto_draft *draft, int depth)
{
    struct weir_arena *arena = &parser->schema->arena;
    const char *name = take_name(parser, "the group's name is missing");
    char *lower = weir_arena_strdup(arena, name);
    for (char *c = lower; *c; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    draft->field.name = lower;
    field_tail(parser, draft);
    struct proto_message *group = add_message(parser, message, name, false);
    if (!group)
        return;
    group->message.index = message->inner_count++;
    draft->field.type = WEIR_PROTO_GROUP;
    draft->field.type_name = weir_arena_format(arena, ".%s", group->message.name);
    message_body(parser, group, draft->features, depth + 1);
}

/* A field, or a oneof's member: [label] type name = number [...]; */
static void field(struct parser *parser, struct proto_message *message, struct weir_proto_features features, int oneof,
                  int depth)
{
    bool repeated = false, required = false, optional = false;
    if (oneof < 0) {
        repeated = accept(parser, "repeated");
        required = !repeated && accept(parser, "required");
        optional = !repeated && !required && accept(parser, "optional");
    }
    const char *type = take_name(parser, "a field's type is missing");
    if (strcmp(type, "map") == 0 && is(parser, "<")) {
        map_field(parser, message, features);
        return;
    }
    struct proto_draft *draft = weir_proto_add_field(parser->schema, message);
    draft->features = features;
    draft->optional_said = optional && parser->proto3;
    draft->field.repeated = repeated;
    draft->field.required = required;
    draft->field.oneof = oneof;
    draft->field.name = "";
    if (strcmp(type, "group") == 0 && parser->kind == NAME) {
        group_field(parser, message, draft, depth);
        return;
    }
    set_type(draft, type);
    draft->field.name = take_name(parser, "the field's name is missing");
    field_tail(parser, draft);
    expect(parser, ";");
}

static void oneof(struct parser *parser, struct proto_message *message, struct weir_proto_features features, int depth)
{
    const char *name = take_name(parser, "the oneof's name is missing");
    int number = weir_proto_add_oneof(parser->schema, message, name, strlen(name));
    expect(parser, "{");
    while (!is(parser, "}") && parser->kind != END) {
        if (accept(parser, "option"))
            option_statement(parser, &features);
        else if (!accept(parser, ";"))
            field(parser, message, features, number, depth);
    }
    expect(parser, "}");
}

/* --- Enums, messages, files */

static void enumeration(struct parser *parser, const char *scope, struct weir_proto_features features)
{
    const char *name = take_name(parser, "the enum's name is missing");
    struct proto_enum *to = weir_proto_add_enum(parser->schema, parser->number, scope, name, strlen(name));
    if (!to) {
        wrong(parser, "an enum's name is too long, or there are too many");
        return;
    }
    expect(parser, "{");
    while (!is(parser, "}") && parser->kind != END) {
        if (accept(parser, "option")) {
            option_statement(parser, &features);
        } else if (is(parser, "reserved")) {
            skip_statement(parser);
        } else if (!accept(parser, ";")) {
            const char *value = take_name(parser, "the value's name is missing");
            struct proto_draft ignored = {.field = {.name = ""}};
            expect(parser, "=");
            weir_proto_add_value(parser->schema, to, value, strlen(value),
                                 (int32_t)take_int(parser, INT32_MIN, INT32_MAX));
            field_options(parser, &ignored);
            expect(parser, ";");
        }
    }
    expect(parser, "}");
    to->enumeration.closed = features.closed_enum;
}

static void message_statement(struct parser *parser, struct proto_message *message,
                              struct weir_proto_features *features, int depth)
{
    if (accept(parser, "message")) {
        const char *name = take_name(parser, "the message's name is missing");
        struct proto_message *inner = add_message(parser, message, name, false);
        if (!inner)
            return;
        inner->message.index = message->inner_count++;
        message_body(parser, inner, *features, depth + 1);
    } else if (accept(parser, "enum")) {
        enumeration(parser, message->message.name, *features);
    } else if (accept(parser, "oneof")) {
        oneof(parser, message, *features, depth);
    } else if (accept(parser, "option")) {
        option_statement(parser, features);
    } else if (is(parser, "extend") || is(parser, "extensions") || is(parser, "reserved")) {
        skip_statement(parser);
    } else {
        field(parser, message, *features, -1, depth);
    }
}

static void message_body(struct parser *parser, struct proto_message *message, struct weir_proto_features features,
                         int depth)
{
    if (depth == PROTO_NESTING_MAX) {
        wrong(parser, "messages are nested more than 32 deep");
        return;
    }
    expect(parser, "{");
    while (!is(parser, "}") && parser->kind != END) {
        if (!accept(parser, ";"))
            message_statement(parser, message, &features, depth);
    }
    expect(parser, "}");
    (void)accept(parser, ";");
}

static void syntax_statement(struct parser *parser, bool edition)
{
    expect(parser, "=");
    const char *value = take_string(parser);
    if (!edition && strcmp(value, "proto2") != 0 && strcmp(value, "proto3") != 0)
        wrong(parser, "syntax must be \"proto2\" or \"proto3\"");
    parser->proto3 = !edition && strcmp(value, "proto3") == 0;
    parser->features = weir_proto_features_of(edition ? "editions" : value);
    expect(parser, ";");
}

static void file_statement(struct parser *parser, int *index)
{
    if (accept(parser, "syntax")) {
        syntax_statement(parser, false);
    } else if (accept(parser, "edition")) {
        syntax_statement(parser, true);
    } else if (accept(parser, "package")) {
        parser->package = take_name(parser, "the package's name is missing");
        expect(parser, ";");
    } else if (accept(parser, "message")) {
        struct proto_message *message =
            add_message(parser, NULL, take_name(parser, "the message's name is missing"), false);
        if (!message)
            return;
        message->message.index = (*index)++;
        message_body(parser, message, parser->features, 0);
    } else if (accept(parser, "enum")) {
        enumeration(parser, parser->package, parser->features);
    } else if (accept(parser, "option")) {
        option_statement(parser, &parser->features);
    } else if (is(parser, "import") || is(parser, "service") || is(parser, "extend")) {
        skip_statement(parser);
    } else if (!accept(parser, ";")) {
        wrong(parser, "a statement of a .proto file is missing (syntax, import, package, message, enum, ...)");
    }
}

weir_err weir_proto_source_add(struct weir_proto_schema *schema, const struct weir_proto_file *file,
                               struct weir_error *error)
{
    struct parser parser = {.schema = schema,
                            .file = file->name,
                            .number = schema->file_count++,
                            .at = file->text,
                            .line = 1,
                            .package = "",
                            .features = weir_proto_features_of("proto2"),
                            .error = error};
    int index = 0;
    advance(&parser);
    while (parser.kind != END)
        file_statement(&parser, &index);
    return parser.err;
}

weir_err weir_proto_schema_parse(const struct weir_proto_file *files, int file_count, struct weir_proto_schema **schema,
                                 struct weir_error *error)
{
    struct weir_proto_schema *made = weir_proto_schema_begin();
    weir_err err = WEIR_OK;
    for (int i = 0; i < file_count && !err; i++)
        err = weir_proto_source_add(made, &files[i], error);
    if (!err)
        err = weir_proto_schema_finish(made, error);
    if (err) {
        weir_proto_schema_free(made);
        return err;
    }
    *schema = made;
    return WEIR_OK;
}
