/* window: groups rows by key and window and gives one row of aggregates per key and window (Flink's window operator).
 *
 * Tumbling, sliding and session windows in event or processing time. A window fires when the watermark reaches its end - 1; it is kept for
 * `window.allowed-lateness` more, and a row that comes within it makes its key's result come again, updated, at the end of the
 * batch. A row whose windows are all beyond that is late: it goes to output 1, or is dropped and counted. Lateness is judged by
 * the watermark before the batch. At the end of input (watermark MAX) all windows fire, those of processing time too.
 *
 * Processing time is event time with a clock: all rows of a batch have the time at which it came, and a timer at the next window's end
 * plays the watermark (now - 1).
 *
 * Each handler finishes one item, perhaps over several calls: what a call leaves to the next is in `current`, `fire`, `again_*`.
 * Owning thread: the task's worker.
 */
#include <stdlib.h>
#include <strings.h>

#include "base/assert.h"
#include "ops/window_int.h"

static const struct weir_option window_options[] = {
    {"window.type", WEIR_OPTION_ENUM, NULL, "tumbling|sliding|session", "How windows are cut"},
    {"window.time", WEIR_OPTION_ENUM, "event", "event|processing", "Whose time: the rows' or this machine's clock"},
    {"window.size", WEIR_OPTION_DURATION, "", NULL, "Length of tumbling and sliding windows"},
    {"window.slide", WEIR_OPTION_DURATION, "", NULL,
     "From one sliding window's start to the next one's; at most the size"},
    {"window.gap", WEIR_OPTION_DURATION, "", NULL, "A session ends when its key has had no row for so long"},
    {"window.offset", WEIR_OPTION_STRING, "0 s", NULL,
     "Moves the starts of tumbling and sliding windows away from 1970-01-01T00:00:00, '-8 h' for days of UTC+8"},
    {"window.allowed-lateness", WEIR_OPTION_DURATION, "0 s", NULL,
     "How long after its end, in event time, a window takes rows and gives its result again"},
    {"aggregates", WEIR_OPTION_STRING, NULL, NULL,
     "Select list of the result: key columns, window_start, window_end, COUNT(*), SUM(x), MIN(x), MAX(x), AVG(x), "
     "FIRST_VALUE(x), LAST_VALUE(x), each with FILTER (WHERE ...) where wanted"},
    {"time.column", WEIR_OPTION_STRING, "", NULL, "The TIMESTAMP column that holds the event time"},
    {"on-error", WEIR_OPTION_ENUM, "fail", "fail|skip",
     "What to do with a row that has no usable time or whose arguments cannot be computed"},
    {0},
};

/* --- Options. The graph's check puts the operator's name and source line before a sentence. */

static const char *option(const struct weir_op_plan *plan, const char *name)
{
    const char *value = weir_options_get(plan->options, plan->option_count, window_options, name);
    return value ? value : "";
}

static int64_t duration(const struct weir_op_plan *plan, const char *name)
{
    return weir_options_get_int(plan->options, plan->option_count, window_options, name);
}

static weir_err need_duration(const struct weir_op_plan *plan, const char *name, int64_t *out, struct weir_error *error)
{
    *out = duration(plan, name);
    if (!*option(plan, name))
        return weir_fail(error, WEIR_ERR_INVALID, "a %s window needs '%s', such as '10 s'", option(plan, "window.type"),
                         name);
    if (*out < 1)
        return weir_fail(error, WEIR_ERR_INVALID, "'%s' is '%s', and must be at least 1 ms", name, option(plan, name));
    return WEIR_OK;
}

static weir_err refuse(const struct weir_op_plan *plan, const char *name, struct weir_error *error)
{
    for (int i = 0; i < plan->option_count; i++) {
        if (strcmp(plan->options[i].key, name) == 0 && *plan->options[i].value &&
            strcmp(plan->options[i].value, weir_option_find(window_options, name)->fallback) != 0)
            return weir_fail(error, WEIR_ERR_INVALID, "a %s window has no '%s'; take the option away",
                             option(plan, "window.type"), name);
    }
    return WEIR_OK;
}

static weir_err parse_offset(const struct weir_op_plan *plan, int64_t slide_ms, int64_t *out, struct weir_error *error)
{
    const char *text = option(plan, "window.offset");
    const char *digits = text + strspn(text, " ");
    bool negative = *digits == '-';
    int64_t offset_ms = 0;
    if (*digits && !weir_parse_duration_ms(digits + negative, &offset_ms))
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "'window.offset' is not a duration in whole milliseconds: '%s' (write it like '15 min' or '-8 h')", text);
    if (offset_ms >= slide_ms)
        return weir_fail(error, WEIR_ERR_INVALID, "'window.offset' is '%s', and must be shorter than %s", text,
                         strcasecmp(option(plan, "window.type"), "sliding") == 0 ? "the slide" : "the window");
    *out = negative && offset_ms ? slide_ms - offset_ms : offset_ms;
    return WEIR_OK;
}

static weir_err parse_sizes(const struct weir_op_plan *plan, struct weir_window_spec *spec, struct weir_error *error)
{
    weir_err err = need_duration(plan, "window.size", &spec->size_ms, error);
    if (err || (err = refuse(plan, "window.gap", error)))
        return err;
    spec->slide_ms = spec->size_ms;
    if (spec->type == WEIR_WINDOW_TUMBLING) {
        err = refuse(plan, "window.slide", error);
    } else if (!(err = need_duration(plan, "window.slide", &spec->slide_ms, error))) {
        if (spec->slide_ms > spec->size_ms)
            return weir_fail(
                error, WEIR_ERR_INVALID,
                "'window.slide' (%s) is longer than 'window.size' (%s), so that rows between two windows would be "
                "in none; make it at most the size",
                option(plan, "window.slide"), option(plan, "window.size"));
        if (spec->size_ms / spec->slide_ms > WEIR_WINDOW_SLIDES_MAX)
            return weir_fail(
                error, WEIR_ERR_INVALID,
                "a window of %s is %lld slides of %s long, and at most %d are possible; make 'window.slide' longer",
                option(plan, "window.size"), (long long)(spec->size_ms / spec->slide_ms), option(plan, "window.slide"),
                WEIR_WINDOW_SLIDES_MAX);
    }
    if (err)
        return err;
    spec->cut_ms = spec->size_ms % spec->slide_ms;
    return parse_offset(plan, spec->slide_ms, &spec->offset_ms, error);
}

static weir_err parse_spec(const struct weir_op_plan *plan, struct weir_window_spec *spec, struct weir_error *error)
{
    const char *type = option(plan, "window.type");
    weir_err err;
    memset(spec, 0, sizeof *spec);
    spec->processing_time = strcasecmp(option(plan, "window.time"), "processing") == 0;
    spec->lateness_ms = duration(plan, "window.allowed-lateness");
    if (spec->processing_time && spec->lateness_ms)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "with 'window.time' = 'processing' no row is late; take "
                         "'window.allowed-lateness' away");
    if (strcasecmp(type, "session") == 0) {
        spec->type = WEIR_WINDOW_SESSION;
        static const char *const others[] = {"window.size", "window.slide", "window.offset"};
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
            if ((err = refuse(plan, others[i], error)))
                return err;
        }
        return need_duration(plan, "window.gap", &spec->gap_ms, error);
    }
    spec->type = strcasecmp(type, "tumbling") == 0 ? WEIR_WINDOW_TUMBLING : WEIR_WINDOW_SLIDING;
    return parse_sizes(plan, spec, error);
}

static weir_err find_time_column(const struct weir_op_plan *plan, int *column, struct weir_error *error)
{
    const struct weir_schema *input = plan->inputs[0];
    const char *name = option(plan, "time.column");
    *column = -1;
    if (!*name)
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "an event-time window needs a watermark strategy before it (or 'time.column'); without event time, use "
            "'window.time' = 'processing'");
    int at = weir_schema_find(input, name, strlen(name));
    if (at < 0) {
        const char *names[WEIR_FIELDS_MAX];
        for (int i = 0; i < input->field_count; i++)
            names[i] = input->fields[i].name;
        const char *near = weir_nearest(name, names, input->field_count);
        return weir_fail(error, WEIR_ERR_INVALID, "the time column '%.100s' is not in the window's input%s%s%s", name,
                         near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    char type[64];
    if (input->fields[at].type.id != WEIR_TYPE_TIMESTAMP)
        return weir_fail(error, WEIR_ERR_INVALID, "the time column '%.100s' is %s, and must be TIMESTAMP", name,
                         weir_type_print(&input->fields[at].type, type));
    *column = at;
    return WEIR_OK;
}

static weir_err compile(const struct weir_op_plan *plan, struct weir_agg **agg, struct weir_error *error)
{
    static const struct weir_key_spec no_key;
    struct weir_expr_error expr_error = {0};
    weir_err err = weir_agg_compile(option(plan, "aggregates"), plan->inputs[0], plan->keyed ? &plan->key : &no_key,
                                    true, agg, &expr_error);
    if (!err)
        return WEIR_OK;
    /* The sentence may begin with the column itself. */
    enum weir_err_code code = expr_error.error.code ? expr_error.error.code : WEIR_ERR_INVALID;
    if (expr_error.column > 0 && strncmp(expr_error.error.message, "column ", 7) != 0)
        return weir_fail(error, code, "aggregates, column %d: %s", expr_error.column, expr_error.error.message);
    return weir_fail(error, code, "aggregates%s%s", expr_error.column > 0 ? ", " : ": ", expr_error.error.message);
}

static weir_err window_plan(struct weir_op_plan *plan, struct weir_error *error)
{
    struct weir_window_spec spec;
    struct weir_agg *agg = NULL;
    int time_column;
    weir_err err = weir_options_check("window", plan->options, plan->option_count, window_options, NULL, NULL, error);
    if (err || (err = parse_spec(plan, &spec, error)))
        return err;
    if (!spec.processing_time && (err = find_time_column(plan, &time_column, error)))
        return err;
    if ((err = compile(plan, &agg, error)))
        return err;
    plan->output = weir_schema_ref(weir_agg_schema(agg));
    plan->sides[0] = weir_schema_ref(plan->inputs[0]);
    weir_agg_free(agg);
    return WEIR_OK;
}

/* --- Life */

static void set_timer(struct weir_window *window, struct weir_op_ctx *ctx);

/* With what a checkpoint has, or from nothing. */
static weir_err begin(struct weir_window *window, struct weir_op_ctx *ctx, struct weir_error *error)
{
    weir_err err = weir_window_restore(window, ctx, error);
    if (err)
        return weir_wrap(error, "%s", ctx->plan->name);
    if (ctx->restored)
        set_timer(window, ctx);
    return WEIR_OK;
}

static weir_err window_open(struct weir_op *op, struct weir_op_ctx *ctx, struct weir_error *error)
{
    struct weir_window *window = (struct weir_window *)op;
    const struct weir_op_plan *plan = ctx->plan;
    static const struct weir_key_spec no_key;
    const struct weir_key_spec *key = plan->keyed ? &plan->key : &no_key;
    weir_buf_init(&window->emit_keys, 1);
    if (!plan->keyed && ctx->parallelism > 1)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "a window over all rows has parallelism 1, not %d; set it, or use key_by before the window",
                         ctx->parallelism);
    weir_err err = parse_spec(plan, &window->spec, error);
    if (err)
        return err;
    window->time_column = -1;
    if (!window->spec.processing_time && (err = find_time_column(plan, &window->time_column, error)))
        return err;
    if ((err = compile(plan, &window->agg, error)))
        return err;
    window->input = weir_agg_input_new(window->agg);
    window->accumulator_size = weir_agg_accumulator_size(window->agg);
    if (window->accumulator_size > WEIR_STATE_VALUE_SIZE_MAX)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "'aggregates' has too many of them: together they take %zu bytes a key, and at most %zu are "
                         "possible",
                         window->accumulator_size, WEIR_STATE_VALUE_SIZE_MAX);
    window->global = !plan->keyed;
    window->skip_bad = weir_on_error_parse(option(plan, "on-error")) == WEIR_ON_ERROR_SKIP;
    if (window->skip_bad)
        weir_op_may_have_bad(ctx);
    window->watermark_ms = WEIR_WATERMARK_MIN;
    window->emit_rows = WEIR_WINDOW_ROWS;
    window->again_after_ms = INT64_MAX;
    window->key_scratch = weir_state_key_scratch_new(plan->inputs[0], key);
    window->groups = weir_window_groups_new();
    struct weir_state_spec spec = {
        .uid = plan->uid ? plan->uid : plan->name,
        .value_size = window->accumulator_size,
        .fixed_key = weir_state_fixed_key(plan->inputs[0], key),
        .codec = weir_window_codec(window, plan, option(plan, "aggregates")),
        .max_parallelism = ctx->max_parallelism,
        .key_group_first = ctx->key_group_first,
        .key_group_count = ctx->key_group_count,
        .memory = ctx->memory,
    };
    if (window->spec.type == WEIR_WINDOW_SESSION) {
        weir_sessions_open(window, &spec);
        return begin(window, ctx, error);
    }
    spec.name = WEIR_WINDOW_STATE;
    window->panes = weir_state_new(&spec);
    spec.name = "window-merged"; /* as large as a window: it may need room on disk, too */
    if (!ctx->memory)
        spec.codec = NULL;
    window->merged = weir_state_new(&spec);
    spec.codec = NULL;
    spec.memory = NULL;
    spec.name = "window-again";
    spec.value_size = 0;
    window->dirty = weir_state_new(&spec);
    return begin(window, ctx, error);
}

static void window_close(struct weir_op *op, struct weir_op_ctx *ctx, bool finished)
{
    struct weir_window *window = (struct weir_window *)op;
    (void)ctx, (void)finished;
    weir_batch_unref(window->current);
    weir_sessions_close(window);
    weir_state_free(window->panes);
    weir_state_free(window->merged);
    weir_state_free(window->dirty);
    weir_arena_fini(&window->chunk_heap);
    free(window->chunk_accumulators);
    weir_state_key_scratch_free(window->key_scratch);
    free(window->groups);
    if (window->input)
        weir_agg_input_free(window->input);
    if (window->agg)
        weir_agg_free(window->agg);
}

/* --- Output */

weir_err weir_window_emit(struct weir_window *window, struct weir_op_ctx *ctx, int count)
{
    struct weir_batch *batch = NULL;
    weir_err err = weir_agg_result(window->agg, window->results, count, &batch, &ctx->error);
    if (err)
        return weir_wrap(&ctx->error, "%s", ctx->plan->name);
    size_t bytes = weir_batch_bytes(batch);
    if (bytes > WEIR_BATCH_BYTES_SOFT_MAX && window->emit_rows > 1)
        window->emit_rows = count > 1 ? count / 2 : 1;
    else if (bytes < WEIR_BATCH_BYTES_SOFT_MAX / 4 && window->emit_rows < WEIR_WINDOW_ROWS)
        window->emit_rows *= 2;
    if (window->emit_rows > WEIR_WINDOW_ROWS)
        window->emit_rows = WEIR_WINDOW_ROWS;
    weir_out_push(ctx->out, batch);
    return WEIR_OK;
}

void weir_window_push_late(struct weir_window *window, struct weir_op_ctx *ctx, const int32_t *rows, int count)
{
    if (!ctx->sides[0])
        *ctx->num_late_records_dropped += (uint64_t)count;
    else if (count == window->current->row_count)
        weir_out_push(ctx->sides[0], weir_batch_ref(window->current));
    else
        weir_out_push(ctx->sides[0], weir_batch_gather(window->current, rows, count));
}

const int64_t *weir_window_times(const struct weir_window *window)
{
    return window->time_column < 0 ? NULL : window->current->columns[window->time_column].i64;
}

/* --- A batch: bad rows out, then update, then results again */

static bool time_is_good(const struct weir_column *column, int row)
{
    return !weir_column_is_null(column, row) && column->i64[row] >= -WEIR_WINDOW_TIME_MAX &&
           column->i64[row] <= WEIR_WINDOW_TIME_MAX;
}

static weir_err time_error(const struct weir_window *window, struct weir_op_ctx *ctx, const struct weir_batch *batch,
                           int row)
{
    const struct weir_column *column = &batch->columns[window->time_column];
    const char *name = batch->schema->fields[window->time_column].name;
    weir_err err;
    if (weir_column_is_null(column, row))
        err = weir_fail(
            &ctx->error, WEIR_ERR_DATA,
            "the time column '%.100s' is NULL, so that the row belongs to no window; filter such rows out before, or set "
            "'on-error' = 'skip'",
            name);
    else
        err = weir_fail(
            &ctx->error, WEIR_ERR_DATA,
            "the time column '%.100s' is %lld ms, beyond 146 million years; filter such rows out before, or set "
            "'on-error' = 'skip'",
            name, (long long)column->i64[row]);
    (void)err;
    return weir_op_row_error(ctx->plan->name, batch, row, &ctx->error);
}

/* Rows with a usable time; count them first: mostly it is all. */
static weir_err take_good_times(struct weir_window *window, struct weir_op_ctx *ctx)
{
    struct weir_batch *batch = window->current;
    if (window->time_column < 0)
        return WEIR_OK;
    const struct weir_column *column = &batch->columns[window->time_column];
    uint64_t outside = 0;
    for (int i = 0; i < batch->row_count; i++)
        outside |= (uint64_t)column->i64[i] + (uint64_t)WEIR_WINDOW_TIME_MAX > 2 * (uint64_t)WEIR_WINDOW_TIME_MAX;
    if (!outside && !column->validity)
        return WEIR_OK;
    uint64_t mask[WEIR_BATCH_ROWS_MAX / 64] = {0};
    int bad = 0;
    for (int i = 0; i < batch->row_count; i++) {
        bool good = time_is_good(column, i);
        weir_bit_put(mask, i, good);
        bad += !good;
        if (good)
            continue;
        weir_op_count_bad(ctx, WEIR_BAD_VALUE, 1);
        if (!window->skip_bad)
            return time_error(window, ctx, batch, i);
    }
    if (bad) {
        window->current = weir_batch_filter(batch, mask);
        weir_batch_unref(batch);
    }
    return WEIR_OK;
}

static weir_err eval_piece(void *arg, const struct weir_batch *piece, struct weir_error *error)
{
    struct weir_window *window = arg;
    return weir_agg_prepare(window->agg, window->input, piece, NULL, error);
}

static weir_err prepare(struct weir_window *window, struct weir_op_ctx *ctx)
{
    struct weir_batch *batch = window->current;
    int bad_row = -1;
    weir_err err = weir_agg_prepare(window->agg, window->input, batch, &bad_row, &ctx->error);
    if (!err || err != WEIR_ERR_DATA)
        return err ? weir_wrap(&ctx->error, "%s", ctx->plan->name) : WEIR_OK;
    if (!window->skip_bad) {
        weir_op_count_bad(ctx, WEIR_BAD_OTHER, 1);
        return bad_row < 0 ? weir_wrap(&ctx->error, "%s", ctx->plan->name)
                           : weir_op_row_error(ctx->plan->name, batch, bad_row, &ctx->error);
    }
    uint64_t mask[WEIR_BATCH_ROWS_MAX / 64] = {0};
    memset(&ctx->error, 0, sizeof ctx->error);
    int bad = weir_op_good_rows(batch, eval_piece, window, mask, &err, &ctx->error);
    if (err)
        return err;
    memset(&ctx->error, 0, sizeof ctx->error);
    weir_op_count_bad(ctx, WEIR_BAD_OTHER, bad);
    window->current = weir_batch_filter(batch, mask);
    weir_batch_unref(batch);
    if (window->current->row_count == 0)
        return WEIR_OK;
    return weir_agg_prepare(window->agg, window->input, window->current, NULL, &ctx->error);
}

static void set_timer(struct weir_window *window, struct weir_op_ctx *ctx)
{
    if (!window->spec.processing_time)
        return;
    int64_t next_ms =
        window->spec.type == WEIR_WINDOW_SESSION
            ? weir_sessions_next_end(window)
            : weir_panes_next_end(window, window->watermark_ms == INT64_MAX ? INT64_MAX : window->watermark_ms + 1);
    weir_op_set_timer(ctx, next_ms);
}

static weir_err begin_batch(struct weir_window *window, struct weir_op_ctx *ctx, struct weir_batch *batch)
{
    window->current = weir_batch_ref(batch);
    if (window->spec.processing_time) {
        /* The clock may be set back; a window that has fired stays closed. */
        int64_t now_ms = weir_op_now_ms(ctx);
        window->row_time_ms = now_ms > window->watermark_ms ? now_ms : window->watermark_ms + 1;
    }
    weir_err err = take_good_times(window, ctx);
    if (err || window->current->row_count == 0)
        return err;
    if ((err = prepare(window, ctx)) || window->current->row_count == 0)
        return err;
    weir_state_keys(window->key_scratch, window->current, &window->keys);
    return window->spec.type == WEIR_WINDOW_SESSION ? weir_sessions_update(window, ctx)
                                                    : weir_panes_update(window, ctx);
}

static enum weir_step window_batch(struct weir_op *op, struct weir_op_ctx *ctx, int input, struct weir_batch *batch)
{
    struct weir_window *window = (struct weir_window *)op;
    (void)input;
    if (!window->current) {
        if (ctx->sides[0] && weir_out_full(ctx->sides[0]))
            return WEIR_STEP_AGAIN;
        if (begin_batch(window, ctx, batch))
            return WEIR_STEP_FAILED;
    }
    enum weir_step step = WEIR_STEP_DONE;
    if (window->current->row_count > 0)
        step =
            window->spec.type == WEIR_WINDOW_SESSION ? weir_sessions_again(window, ctx) : weir_panes_again(window, ctx);
    if (step == WEIR_STEP_AGAIN)
        return step;
    weir_batch_unref(window->current);
    window->current = NULL;
    if (step == WEIR_STEP_DONE)
        set_timer(window, ctx);
    return step;
}

/* --- Time */

static enum weir_step fire_up_to(struct weir_window *window, struct weir_op_ctx *ctx, int64_t target_ms)
{
    if (target_ms <= window->watermark_ms)
        return WEIR_STEP_DONE;
    enum weir_step step = window->spec.type == WEIR_WINDOW_SESSION ? weir_sessions_fire(window, ctx, target_ms)
                                                                   : weir_panes_fire(window, ctx, target_ms);
    if (step == WEIR_STEP_DONE)
        window->watermark_ms = target_ms;
    return step;
}

static enum weir_step window_watermark(struct weir_op *op, struct weir_op_ctx *ctx, int64_t watermark_ms)
{
    struct weir_window *window = (struct weir_window *)op;
    if (window->spec.processing_time && watermark_ms != WEIR_WATERMARK_MAX)
        return WEIR_STEP_DONE;
    enum weir_step step = fire_up_to(window, ctx, watermark_ms);
    if (step == WEIR_STEP_DONE)
        set_timer(window, ctx);
    return step;
}

static enum weir_step window_timer(struct weir_op *op, struct weir_op_ctx *ctx, int64_t now_ms)
{
    struct weir_window *window = (struct weir_window *)op;
    enum weir_step step = fire_up_to(window, ctx, now_ms - 1);
    if (step == WEIR_STEP_DONE)
        set_timer(window, ctx);
    return step;
}

const struct weir_op_vtable weir_op_window = {
    .name = "window",
    .help = "Aggregates per key and window: tumbling, sliding and session windows in event or processing time",
    .size = sizeof(struct weir_window),
    .options = window_options,
    .keeps_key = true,
    .plan = window_plan,
    .open = window_open,
    .batch = window_batch,
    .watermark = window_watermark,
    .timer = window_timer,
    .snapshot = weir_window_snapshot,
    .close = window_close,
};
