/* @NAME@: orders that nobody pays, by a C function with state and timers.
 *
 * Input: lines of JSON, {"id": 7, "kind": "placed", "ts": "2025-01-02T10:00:00Z"}; kinds are placed and paid. Output: lines of JSON in
 * OUTPUT/orders, {"id": 7, "result": "paid", "after_ms": 1200}: paid in time, or unpaid. */
#include <weir/weir.h>

struct event {
    int64_t id;
    struct weir_str kind;
    weir_ts ts;
};
WEIR_ROW(event, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(kind, "STRING NOT NULL"),
         WEIR_FIELD(ts, "TIMESTAMP(3) NOT NULL"));

struct order {
    int64_t id;
    struct weir_str result;
    int64_t after_ms;
};
WEIR_ROW(order, WEIR_FIELD(id, "BIGINT NOT NULL"), WEIR_FIELD(result, "STRING NOT NULL"),
         WEIR_FIELD(after_ms, "BIGINT NOT NULL"));

/* Of each order that is open: when it was placed. */
WEIR_VALUE_STATE(placed, "TIMESTAMP(3)");

#define PATIENCE_MS (15 * 60 * 1000)

static int give(struct weir_ctx *ctx, int64_t id, const char *result, int64_t after_ms, struct weir_out *out)
{
    struct order order = {id, weir_str(result), after_ms};
    weir_value_clear(ctx, &placed);
    return weir_emit(out, &order);
}

/* One call per row, with the state of its key. */
static int on_event(struct weir_ctx *ctx, const struct event *e, struct weir_out *out)
{
    weir_ts *since = weir_value_get(ctx, &placed);
    if (weir_str_equal(e->kind, weir_str("placed"))) {
        weir_value_put(ctx, &placed, &e->ts);
        return weir_timer_event(ctx, e->ts + PATIENCE_MS);
    }
    if (!since) /* never placed, or given up */
        return 0;
    weir_timer_event_delete(ctx, *since + PATIENCE_MS);
    int64_t after_ms = e->ts - *since;
    return after_ms <= PATIENCE_MS ? give(ctx, e->id, "paid", after_ms, out)
                                   : give(ctx, e->id, "unpaid", PATIENCE_MS, out);
}

/* Event time has reached a timer that was not taken back. */
static int on_timer(struct weir_ctx *ctx, weir_ts time, struct weir_out *out)
{
    (void)time;
    return give(ctx, weir_key(ctx, event)->id, "unpaid", PATIENCE_MS, out);
}

WEIR_JOB(TEMPLATE_IDENT)
{
    const char *output = weir_arg(job, "output", "out");

    struct weir_stream *events =
        weir_source(job, "filesystem", "path", weir_arg(job, "input", "input.jsonl"), "format", "json", "on-error",
                    "dead-letter", "dead-letter.path", weir_text(job, "%s/bad", output), NULL);
    events = weir_name(weir_schema(events, WEIR_ROW_OF(event)), "events");
    events = weir_watermark(events, "ts - INTERVAL '5' SECOND");

    struct weir_stream *orders = weir_process(weir_key_by(events, "id"), .name = "orders",
                                              WEIR_ON_ROW(event, order, on_event), .on_timer = on_timer);
    weir_uid(orders, "orders"); /* its state is found by this name, whatever becomes of the rest of the job */
    weir_sink(orders, "filesystem", "path", weir_text(job, "%s/orders", output), "format", "json", NULL);
}
