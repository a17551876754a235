/* weir_process(), weir_process2(): the vertex, its functions, and the states that the job's object declares. What comes from that object is
 * checked here before anything trusts it. */
#include <ctype.h>

#include "data/schema.h"
#include "data/time_text.h"
#include "sdk/sdk_int.h"

#define STATES_MAX 64
#define STATE_NAME_SIZE_MAX 128

/* --- States */

static weir_err check_type(const char *what, const char *type, const struct weir_row_type *row,
                           struct weir_error *error)
{
    struct weir_schema *schema;
    struct weir_type parsed;
    weir_err err = WEIR_OK;
    if (!type == !row)
        return weir_fail(error, WEIR_ERR_INVALID, "%s is not described by a macro of weir/process.h", what);
    if (row && !(err = weir_sdk_row_schema(row, &schema, error)))
        weir_schema_unref(schema);
    if (type)
        err = weir_type_parse(type, &parsed, error);
    return err ? weir_wrap(error, "%s", what) : WEIR_OK;
}

static bool name_ok(const char *name)
{
    size_t size = name ? strlen(name) : 0;
    if (size == 0 || size > STATE_NAME_SIZE_MAX || !isalpha((unsigned char)name[0]))
        return false; /* one that begins with _ is the runtime's */
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '_')
            return false;
    return true;
}

static weir_err check_state(const struct weir_state_decl *state, struct weir_error *error)
{
    int64_t ms;
    if (state->form < WEIR_FORM_VALUE || state->form > WEIR_FORM_BROADCAST || !name_ok(state->name))
        return weir_fail(error, WEIR_ERR_INVALID,
                         "a state's name has letters, digits and '_', begins with a letter, and at most %d characters",
                         STATE_NAME_SIZE_MAX);
    bool map = state->form == WEIR_FORM_MAP || state->form == WEIR_FORM_BROADCAST;
    weir_err err = check_type("its value", state->type, state->row, error);
    if (!err && map)
        err = check_type("its key", state->key_type, NULL, error);
    if (err)
        return err;
    if (state->ttl && (!weir_duration_parse(state->ttl, &ms) || ms <= 0))
        return weir_fail(error, WEIR_ERR_INVALID, ".ttl '%.100s' is not a duration, as '10 s' or '1 d'", state->ttl);
    if (state->ttl && state->form >= WEIR_FORM_SPLIT_LIST)
        return weir_fail(error, WEIR_ERR_INVALID, ".ttl is for keyed state; this is the operator's");
    if (state->ttl_update > WEIR_TTL_ON_READ_AND_WRITE)
        return weir_fail(error, WEIR_ERR_INVALID, ".ttl_update is WEIR_TTL_ON_WRITE or WEIR_TTL_ON_READ_AND_WRITE");
    if ((state->form == WEIR_FORM_REDUCING || state->form == WEIR_FORM_AGGREGATING) && !state->add)
        return weir_fail(error, WEIR_ERR_INVALID, "it has no function to add with");
    if (state->form == WEIR_FORM_AGGREGATING && (!state->result || !state->row))
        return weir_fail(error, WEIR_ERR_INVALID, "it has no result function, or its accumulator is no row struct");
    return WEIR_OK;
}

/* All that the object declares: each with a name of its own, since that is its address in checkpoints. */
static void take_states(struct weir_job *job, struct sdk_vertex *vertex, const char *file, int line,
                        const struct weir_process_spec *spec)
{
    size_t given = (size_t)(spec->states_end - spec->states);
    struct weir_error error;
    vertex->states = weir_arena_alloc(&job->arena, STATES_MAX * sizeof *vertex->states);
    for (size_t i = 0; i < given; i++) {
        const struct weir_state_decl *state = spec->states[i];
        if (!state)
            continue;
        if (!weir_sdk_in_job(job, state) || state->size < sizeof *state || check_state(state, &error)) {
            bool described = weir_sdk_in_job(job, state) && state->size >= sizeof *state;
            weir_sdk_error(job, vertex, file, line, "state '%.128s' (%.200s): %s",
                           described && state->name ? state->name : "?", described ? state->location : "",
                           described ? error.message : "it must be declared in the job's own object");
            return;
        }
        for (int j = 0; j < vertex->state_count; j++)
            if (strcmp(vertex->states[j]->name, state->name) == 0) {
                weir_sdk_error(job, vertex, file, line,
                               "two states are named '%s' (%.200s and %.200s): the name is a state's address in "
                               "checkpoints, so give one of them another",
                               state->name, vertex->states[j]->location, state->location);
                return;
            }
        if (vertex->state_count == STATES_MAX) {
            weir_sdk_error(job, vertex, file, line, "a job declares at most %d states", STATES_MAX);
            return;
        }
        vertex->states[vertex->state_count++] = state;
    }
}

/* --- Side outputs */

static bool set_row(struct weir_job *job, struct sdk_vertex *vertex, const char *file, int line, const char *option,
                    const struct weir_row_type *row);

/* Its number from 1, given now if it has none; 0: it cannot have one. */
static int side_number(struct weir_stream *stream, const char *file, int line, const struct weir_side_decl *side)
{
    struct weir_job *job = stream->job;
    struct sdk_vertex *vertex = stream->vertex;
    int number = 0;
    if (strcmp(vertex->op, "process") != 0) {
        weir_sdk_error(job, vertex, file, line, "weir_side_output() is for weir_process(); '%s' is a %s", vertex->name,
                       vertex->op);
        return 0;
    }
    if (!side || !weir_sdk_in_job(job, side) || side->size < sizeof *side || !weir_sdk_in_job(job, side->row)) {
        weir_sdk_error(job, vertex, file, line,
                       "a side output and its row type must be defined in the job's own object, by WEIR_SIDE_OUTPUT");
        return 0;
    }
    while (number < 2 && vertex->sides[number] && vertex->sides[number] != side)
        number++;
    if (number == 2) {
        weir_sdk_error(
            job, vertex, file, line,
            "the side output '%.100s' is its third (it has '%.100s' and '%.100s'): an operator has two at most",
            side->name, vertex->sides[0]->name, vertex->sides[1]->name);
        return 0;
    }
    if (!vertex->sides[number] && !set_row(job, vertex, file, line, number ? "row.side2" : "row.side1", side->row))
        return 0;
    vertex->sides[number] = side;
    return number + 1;
}

struct weir_stream *weir_side_output_at(const char *file, int line, struct weir_stream *stream,
                                        const struct weir_side_decl *side)
{
    struct weir_stream *nothing;
    if (!weir_sdk_usable(stream, file, line, "weir_side_output", &nothing))
        return nothing;
    return weir_sdk_stream(stream->job, stream->vertex, side_number(stream, file, line, side));
}

/* --- Rows and functions */

static bool set_row(struct weir_job *job, struct sdk_vertex *vertex, const char *file, int line, const char *option,
                    const struct weir_row_type *row)
{
    struct weir_error error;
    struct weir_schema *schema;
    struct weir_buf text;
    if (weir_sdk_row_schema(row, &schema, &error)) {
        weir_sdk_error(job, vertex, file, line, "%s", error.message);
        return false;
    }
    weir_buf_init(&text, (size_t)1 << 20);
    bool ok = weir_schema_print(schema, &text);
    if (ok)
        weir_sdk_set(job, vertex, option, (const char *)text.data);
    else
        weir_sdk_error(job, vertex, file, line, "struct %s: its columns as text are too long", row->name);
    weir_buf_fini(&text);
    weir_schema_unref(schema);
    return ok;
}

static const char *missing(const struct weir_process_spec *spec, bool two)
{
    if (!spec->in || !spec->out || !spec->on_row)
        return "it needs .in, .out and .on_row: WEIR_ON_ROW(in, out, function) sets them";
    if (two && (!spec->in2 || !spec->on_row2))
        return "it needs .in2 and .on_row2: WEIR_ON_ROW2(in, function) sets them";
    if (!two && (spec->in2 || spec->on_row2))
        return ".in2 and .on_row2 are for weir_process2()";
    return NULL;
}

static bool in_job(const struct weir_job *job, const void *address)
{
    return !address || weir_sdk_in_job(job, address);
}

struct weir_stream *weir_process_at(const char *file, int line, struct weir_stream *input,
                                    const struct weir_second *second, const struct weir_process_spec *given)
{
    const char *what = second ? "weir_process2" : "weir_process";
    struct weir_stream *nothing, *other = second ? second->stream : NULL;
    if (!weir_sdk_usable(input, file, line, what, &nothing))
        return nothing;
    if (second && !weir_sdk_usable(other, file, line, what, &nothing))
        return nothing;
    struct weir_process_spec spec = {.size = 0};
    memcpy(&spec, given, given->size < sizeof spec ? given->size : sizeof spec);
    struct weir_job *job = input->job;
    struct weir_stream *stream = weir_sdk_vertex(job, file, line, "process", spec.name, input);
    struct sdk_vertex *vertex = stream->vertex;
    if (!vertex)
        return stream;
    vertex->name_given = spec.name != NULL;
    if (second)
        vertex->inputs[vertex->input_count++] = other;
    const char *wrong = missing(&spec, second != NULL);
    const void *on_timer = __extension__(const void *) spec.on_timer;
    if (!wrong && (!in_job(job, spec.on_row) || !in_job(job, spec.on_row2) || !in_job(job, on_timer) ||
                   !in_job(job, spec.in) || !in_job(job, spec.in2) || !in_job(job, spec.out)))
        wrong = "its functions and row types must be defined in the job's own object, not in a library it links";
    if (!wrong && on_timer && input->partition != WEIR__PARTITION__HASH)
        wrong = "timers need a keyed stream: weir_process(weir_key_by(stream, \"column\"), ...)";
    if (!wrong && second && input->partition == WEIR__PARTITION__HASH && other->partition != WEIR__PARTITION__HASH &&
        other->partition != WEIR__PARTITION__BROADCAST)
        wrong = "its first stream is keyed, so the second must be weir_key_by() as well, or weir_broadcast()";
    if (!wrong && second && input->partition != WEIR__PARTITION__HASH && other->partition == WEIR__PARTITION__HASH)
        wrong = "its second stream is keyed, so the first must be: weir_process2(weir_key_by(first, ...), ...)";
    if (wrong) {
        weir_sdk_error(job, vertex, file, line, "%s", wrong);
        return stream;
    }
    struct weir_error error;
    if (weir_sdk_row_schema(spec.out, &vertex->declared, &error)) {
        weir_sdk_error(job, vertex, file, line, "%s", error.message);
        return stream;
    }
    if (!set_row(job, vertex, file, line, "row.in", spec.in) ||
        (second && !set_row(job, vertex, file, line, "row.in2", spec.in2)))
        return stream;
    vertex->function = spec.on_row;
    vertex->function2 = spec.on_row2;
    vertex->on_timer = on_timer;
    vertex->row_in = spec.in;
    vertex->row_in2 = spec.in2;
    vertex->row_out = spec.out;
    if (spec.states)
        take_states(job, vertex, file, line, &spec);
    return stream;
}
