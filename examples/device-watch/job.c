/* What a window does not see: a device whose temperature leaves its own trend, and one that has fallen silent.
 *
 * Each device has a mean that follows its readings (state), and a timer at the moment when it has been silent for too long; each reading moves
 * the timer. Who comes first, the timer or the reading that ends the silence, depends on how fast the input is read: either gives the alert, and
 * the state says that it was given, so the result is the same. A second stream brings rules into the running job: how far a device may leave its trend (broadcast state). */
#include <stdlib.h>
#include <weir/weir.h>

struct reading {
    struct weir_str device_id;
    double temperature;
    weir_ts timestamp;
};
WEIR_ROW(reading, WEIR_FIELD(device_id, "STRING NOT NULL"), WEIR_FIELD(temperature, "DOUBLE NOT NULL"),
         WEIR_FIELD(timestamp, "TIMESTAMP(3) NOT NULL"));

struct rule {
    struct weir_str device_id; /* "*": of devices without a rule of their own */
    double limit;              /* 0: the rule is taken back */
};
WEIR_ROW(rule, WEIR_FIELD(device_id, "STRING NOT NULL"), WEIR_FIELD(limit, "DOUBLE NOT NULL"));

struct alert {
    struct weir_str device_id;
    struct weir_str kind; /* spike, silent */
    weir_ts timestamp;
    double temperature; /* of the spike, or the last one before the silence */
    double mean;
};
WEIR_ROW(alert, WEIR_FIELD(device_id, "STRING NOT NULL"), WEIR_FIELD(kind, "STRING NOT NULL"),
         WEIR_FIELD(timestamp, "TIMESTAMP(3) NOT NULL"), WEIR_FIELD(temperature, "DOUBLE NOT NULL"),
         WEIR_FIELD(mean, "DOUBLE NOT NULL"));

/* What is known of a device. A field that a later version adds needs a DEFAULT, or may be NULL: then the old state is read. */
struct trend {
    int64_t count;
    double mean, last;
    weir_ts silent_at; /* its timer; INT64_MAX: the alert was given */
};
WEIR_ROW(trend, WEIR_FIELD(count, "BIGINT NOT NULL"), WEIR_FIELD(mean, "DOUBLE NOT NULL"),
         WEIR_FIELD(last, "DOUBLE NOT NULL"), WEIR_FIELD(silent_at, "TIMESTAMP(3) NOT NULL"));

WEIR_VALUE_STATE_OF(trends, trend, .ttl = "90 d");
WEIR_BROADCAST_STATE(limits, "STRING", "DOUBLE");

#define LEARNING 24 /* readings before a device has a trend */
#define MEMORY 100  /* the mean follows about so many of the last readings */

static double number(struct weir_ctx *ctx, const char *name, const char *fallback)
{
    return atof(ctx->argument(ctx, name, fallback));
}

static double limit_of(struct weir_ctx *ctx, const struct weir_str *device_id)
{
    struct weir_str all = weir_str("*");
    double *limit = weir_map_get(ctx, &limits, device_id);
    if (!limit)
        limit = weir_map_get(ctx, &limits, &all);
    return limit ? *limit : number(ctx, "limit", "20");
}

static int silence(const struct weir_str *device_id, const struct trend *trend, struct weir_out *out)
{
    struct alert alert = {*device_id, weir_str("silent"), trend->silent_at, trend->last, trend->mean};
    return weir_emit(out, &alert);
}

static int on_reading(struct weir_ctx *ctx, const struct reading *r, struct weir_out *out)
{
    struct trend *known = weir_value_get(ctx, &trends), trend = {.mean = r->temperature};
    if (known) {
        trend = *known;
        if (r->timestamp >= trend.silent_at)
            silence(&r->device_id, &trend, out);
        weir_timer_event_delete(ctx, trend.silent_at);
    }
    if (trend.count >= LEARNING && r->temperature - trend.mean > limit_of(ctx, &r->device_id)) {
        struct alert alert = {r->device_id, weir_str("spike"), r->timestamp, r->temperature, trend.mean};
        weir_emit(out, &alert);
    }
    trend.count++;
    trend.mean += (r->temperature - trend.mean) / (double)(trend.count < MEMORY ? trend.count : MEMORY);
    trend.last = r->temperature;
    trend.silent_at = r->timestamp + (weir_ts)(1000 * number(ctx, "silence-seconds", "7200")) + 1;
    weir_timer_event(ctx, trend.silent_at);
    return weir_value_put(ctx, &trends, &trend);
}

static int on_silence(struct weir_ctx *ctx, weir_ts time, struct weir_out *out)
{
    struct trend *trend = weir_value_get(ctx, &trends);
    if (!trend || trend->silent_at != time || ctx->watermark == INT64_MAX) /* the input's end is no silence */
        return 0;
    silence(&weir_key(ctx, reading)->device_id, trend, out);
    trend->silent_at = INT64_MAX;
    return weir_value_put(ctx, &trends, trend);
}

static int on_rule(struct weir_ctx *ctx, const struct rule *rule, struct weir_out *out)
{
    (void)out;
    return rule->limit > 0 ? weir_map_put(ctx, &limits, &rule->device_id, &rule->limit)
                           : weir_map_remove(ctx, &limits, &rule->device_id);
}

WEIR_JOB(device_watch)
{
    const char *rules = weir_arg(job, "rules", "");
    (void)weir_arg_double(job, "limit", 20);
    (void)weir_arg_double(job, "silence-seconds", 7200);
    struct weir_stream *readings = weir_source(job, "filesystem", "path", weir_arg(job, "input", NULL), "format",
                                               "json", "on-error", "skip", NULL);
    readings = weir_watermark(weir_schema(readings, WEIR_ROW_OF(reading)), "timestamp - INTERVAL '5' MINUTE");
    readings = weir_key_by(readings, "device_id");

    struct weir_stream *alerts;
    if (*rules) {
        struct weir_stream *limit = weir_source(job, "filesystem", "path", rules, "format", "json", NULL);
        alerts =
            weir_process2(readings, weir_broadcast(weir_schema(limit, WEIR_ROW_OF(rule))), .name = "watch",
                          WEIR_ON_ROW(reading, alert, on_reading), WEIR_ON_ROW2(rule, on_rule), .on_timer = on_silence);
    } else {
        alerts =
            weir_process(readings, .name = "watch", WEIR_ON_ROW(reading, alert, on_reading), .on_timer = on_silence);
    }
    weir_uid(alerts, "watch-v1");
    weir_sink(alerts, "filesystem", "path", weir_arg(job, "output", NULL), "format", "json", NULL);
}
