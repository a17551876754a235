/* Restart strategies, by Flink's documentation ("Task Failure Recovery") and keys. Pure arithmetic over one job's state. */
#include "jobmanager/core/jm_int.h"

void weir_jm_job_options_init(struct weir_jm_job_options *options)
{
    *options = (struct weir_jm_job_options){
        .restart = WEIR_JM_RESTART_NONE,
        .fixed_attempts = 1,
        .fixed_delay_ms = 1000,
        .exponential_initial_ms = 1000,
        .exponential_max_ms = 60000,
        .exponential_multiplier = 1.5,
        .exponential_jitter = 0.1,
        .exponential_reset_ms = 3600000,
        .exponential_attempts = -1,
        .rate_max = 1,
        .rate_interval_ms = 60000,
        .rate_delay_ms = 1000,
        .cancellation_timeout_ms = 180000,
        .outlives_jobmanager = true,
        .checkpoint_timeout_ms = 600000,
        .checkpoints_concurrent = 1,
        .checkpoints_retained = 1,
        .checkpoint_gc_grace_ms = 60000,
        .checkpoint_gc_sweep_ms = 600000,
    };
}

static bool next_exponential(const struct weir_jm_job_options *options, struct restart_state *state, int64_t now_ms,
                             uint64_t random, int64_t *delay_ms)
{
    if (state->backoff_ms > 0 && now_ms - state->last_ms >= options->exponential_reset_ms) {
        state->backoff_ms = 0;
        state->attempts = 0;
    }
    if (options->exponential_attempts >= 0 && state->attempts >= options->exponential_attempts)
        return false;
    state->attempts++;
    if (state->backoff_ms <= 0)
        state->backoff_ms = (double)options->exponential_initial_ms;
    else
        state->backoff_ms *= options->exponential_multiplier;
    if (state->backoff_ms > (double)options->exponential_max_ms)
        state->backoff_ms = (double)options->exponential_max_ms;
    double jitter =
        ((double)(random >> 11) / (double)(1ull << 53) * 2 - 1) * options->exponential_jitter * state->backoff_ms;
    double delay = state->backoff_ms + jitter;
    if (delay > (double)options->exponential_max_ms)
        delay = (double)options->exponential_max_ms;
    *delay_ms = delay < 0 ? 0 : (int64_t)delay;
    state->last_ms = now_ms + *delay_ms;
    return true;
}

/* At most rate_max failures within any interval: the last rate_max + 1 are remembered. */
static bool next_rate(const struct weir_jm_job_options *options, struct restart_state *state, int64_t now_ms,
                      int64_t *delay_ms)
{
    int capacity = (int)(options->rate_max < FAILURES_KEPT_MAX ? options->rate_max : FAILURES_KEPT_MAX) + 1;
    if (!state->failures_ms)
        state->failures_ms = weir_alloc((size_t)capacity * sizeof *state->failures_ms);
    if (state->failure_count == capacity) {
        state->failure_first = (state->failure_first + 1) % capacity;
        state->failure_count--;
    }
    state->failures_ms[(state->failure_first + state->failure_count++) % capacity] = now_ms;
    *delay_ms = options->rate_delay_ms;
    return state->failure_count < capacity ||
           now_ms - state->failures_ms[state->failure_first] > options->rate_interval_ms;
}

bool weir_jm_restart_next(const struct weir_jm_job_options *options, struct restart_state *state, int64_t now_ms,
                          uint64_t random, int64_t *delay_ms)
{
    *delay_ms = 0;
    switch (options->restart) {
    case WEIR_JM_RESTART_NONE:
        return false;
    case WEIR_JM_RESTART_FIXED_DELAY:
        *delay_ms = options->fixed_delay_ms;
        return ++state->attempts <= options->fixed_attempts || WEIR_MUTANT(jm_restart_forever);
    case WEIR_JM_RESTART_EXPONENTIAL_DELAY:
        return next_exponential(options, state, now_ms, random, delay_ms);
    case WEIR_JM_RESTART_FAILURE_RATE:
        return next_rate(options, state, now_ms, delay_ms);
    }
    return false;
}

/* --- Options by their Flink keys */

static weir_err parse_type(struct weir_jm_job_options *options, const char *value, struct weir_error *error)
{
    static const struct {
        const char *name;
        enum weir_jm_restart_type type;
    } names[] = {
        {"none", WEIR_JM_RESTART_NONE},
        {"off", WEIR_JM_RESTART_NONE},
        {"disable", WEIR_JM_RESTART_NONE},
        {"fixed-delay", WEIR_JM_RESTART_FIXED_DELAY},
        {"fixeddelay", WEIR_JM_RESTART_FIXED_DELAY},
        {"exponential-delay", WEIR_JM_RESTART_EXPONENTIAL_DELAY},
        {"exponentialdelay", WEIR_JM_RESTART_EXPONENTIAL_DELAY},
        {"failure-rate", WEIR_JM_RESTART_FAILURE_RATE},
        {"failurerate", WEIR_JM_RESTART_FAILURE_RATE},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].name, value) == 0) {
            options->restart = names[i].type;
            return WEIR_OK;
        }
    return weir_fail(error, WEIR_ERR_INVALID,
                     "restart-strategy.type: '%.100s' is none of none, fixed-delay, exponential-delay, failure-rate",
                     value);
}

/* Flink's durations: "10 s", "500ms", "1 min", "2 h", "1 d"; a bare number is milliseconds. */
static weir_err parse_duration(const char *key, const char *value, int64_t min_ms, int64_t *out,
                               struct weir_error *error)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {
        {"", 1},          {"ms", 1},          {"milli", 1},
        {"millis", 1},    {"millisecond", 1}, {"milliseconds", 1},
        {"s", 1000},      {"sec", 1000},      {"secs", 1000},
        {"second", 1000}, {"seconds", 1000},  {"m", 60000},
        {"min", 60000},   {"minute", 60000},  {"minutes", 60000},
        {"h", 3600000},   {"hour", 3600000},  {"hours", 3600000},
        {"d", 86400000},  {"day", 86400000},  {"days", 86400000},
    };
    char *end;
    long long number = strtoll(value, &end, 10);
    const char *digits_end = end;
    while (*end == ' ')
        end++;
    for (size_t i = 0; digits_end != value && i < sizeof units / sizeof *units; i++)
        if (strcmp(units[i].name, end) == 0) {
            if (number < 0 || number > INT64_MAX / 4 / units[i].ms || number * units[i].ms < min_ms)
                break;
            *out = number * units[i].ms;
            return WEIR_OK;
        }
    return weir_fail(error, WEIR_ERR_INVALID, "%s: '%.100s' is not a duration such as '10 s'%s", key, value,
                     min_ms > 0 ? " greater than zero" : "");
}

static weir_err parse_count(const char *key, const char *value, int64_t min, int64_t *out, struct weir_error *error)
{
    char *end;
    long long number = strtoll(value, &end, 10);
    if (end == value || *end || number < min)
        return weir_fail(error, WEIR_ERR_INVALID, "%s: '%.100s' is not a number of at least %" PRId64, key, value, min);
    *out = number;
    return WEIR_OK;
}

static weir_err parse_double(const char *key, const char *value, double min, double max, double *out,
                             struct weir_error *error)
{
    char *end;
    double number = strtod(value, &end);
    if (end == value || *end || !(number >= min && number <= max))
        return weir_fail(error, WEIR_ERR_INVALID, "%s: '%.100s' is not a number from %g to %g", key, value, min, max);
    *out = number;
    return WEIR_OK;
}

static weir_err parse_retention(struct weir_jm_job_options *options, const char *value, struct weir_error *error)
{
    if (strcmp(value, "NO_EXTERNALIZED_CHECKPOINTS") == 0)
        options->retention = WEIR_JM_RETENTION_NONE;
    else if (strcmp(value, "DELETE_ON_CANCELLATION") == 0)
        options->retention = WEIR_JM_RETENTION_DELETE_ON_CANCELLATION;
    else if (strcmp(value, "RETAIN_ON_CANCELLATION") == 0)
        options->retention = WEIR_JM_RETENTION_RETAIN_ON_CANCELLATION;
    else
        return weir_fail(
            error, WEIR_ERR_INVALID,
            "execution.checkpointing.externalized-checkpoint-retention: '%.100s' is none of NO_EXTERNALIZED_CHECKPOINTS, "
            "DELETE_ON_CANCELLATION, RETAIN_ON_CANCELLATION",
            value);
    return WEIR_OK;
}

static weir_err set_checkpointing(struct weir_jm_job_options *options, const char *key, const char *value,
                                  struct weir_error *error)
{
    const char *name = key + strlen("execution.checkpointing.");
    if (strcmp(name, "interval") == 0)
        return parse_duration(key, value, 0, &options->checkpoint_interval_ms, error);
    if (strcmp(name, "timeout") == 0)
        return parse_duration(key, value, 1, &options->checkpoint_timeout_ms, error);
    if (strcmp(name, "min-pause") == 0)
        return parse_duration(key, value, 0, &options->checkpoint_pause_ms, error);
    if (strcmp(name, "max-concurrent-checkpoints") == 0)
        return parse_count(key, value, 1, &options->checkpoints_concurrent, error);
    if (strcmp(name, "tolerable-failed-checkpoints") == 0)
        return parse_count(key, value, 0, &options->checkpoints_tolerable, error);
    if (strcmp(name, "gc-grace") == 0)
        return parse_duration(key, value, 0, &options->checkpoint_gc_grace_ms, error);
    if (strcmp(name, "gc-sweep-interval") == 0)
        return parse_duration(key, value, 1000, &options->checkpoint_gc_sweep_ms, error);
    if (strcmp(name, "externalized-checkpoint-retention") == 0)
        return parse_retention(options, value, error);
    if (strcmp(name, "num-retained") == 0)
        return parse_count(key, value, 1, &options->checkpoints_retained, error);
    return WEIR_ERR_NOT_FOUND;
}

weir_err weir_jm_job_options_set(struct weir_jm_job_options *options, const char *key, const char *value,
                                 struct weir_error *error)
{
    static const char prefix[] = "restart-strategy.";
    if (strcmp(key, "task.cancellation.timeout") == 0)
        return parse_duration(key, value, 1, &options->cancellation_timeout_ms, error);
    if (strcmp(key, "restart-strategy") == 0) /* the older spelling */
        return parse_type(options, value, error);
    if (strncmp(key, "execution.checkpointing.", 24) == 0)
        return set_checkpointing(options, key, value, error);
    if (strncmp(key, prefix, sizeof prefix - 1) != 0)
        return WEIR_ERR_NOT_FOUND;
    const char *name = key + sizeof prefix - 1;
    if (strcmp(name, "type") == 0)
        return parse_type(options, value, error);
    if (strcmp(name, "fixed-delay.attempts") == 0)
        return parse_count(key, value, 0, &options->fixed_attempts, error);
    if (strcmp(name, "fixed-delay.delay") == 0)
        return parse_duration(key, value, 0, &options->fixed_delay_ms, error);
    if (strcmp(name, "exponential-delay.initial-backoff") == 0)
        return parse_duration(key, value, 1, &options->exponential_initial_ms, error);
    if (strcmp(name, "exponential-delay.max-backoff") == 0)
        return parse_duration(key, value, 1, &options->exponential_max_ms, error);
    if (strcmp(name, "exponential-delay.backoff-multiplier") == 0)
        return parse_double(key, value, 1, 1e6, &options->exponential_multiplier, error);
    if (strcmp(name, "exponential-delay.jitter-factor") == 0)
        return parse_double(key, value, 0, 1, &options->exponential_jitter, error);
    if (strcmp(name, "exponential-delay.reset-backoff-threshold") == 0)
        return parse_duration(key, value, 1, &options->exponential_reset_ms, error);
    if (strcmp(name, "exponential-delay.attempts-before-reset-backoff") == 0) {
        if (strcmp(value, "infinite") == 0 || strcmp(value, "2147483647") == 0) {
            options->exponential_attempts = -1;
            return WEIR_OK;
        }
        return parse_count(key, value, 0, &options->exponential_attempts, error);
    }
    if (strcmp(name, "failure-rate.max-failures-per-interval") == 0)
        return parse_count(key, value, 1, &options->rate_max, error);
    if (strcmp(name, "failure-rate.failure-rate-interval") == 0)
        return parse_duration(key, value, 1, &options->rate_interval_ms, error);
    if (strcmp(name, "failure-rate.delay") == 0)
        return parse_duration(key, value, 0, &options->rate_delay_ms, error);
    return WEIR_ERR_NOT_FOUND;
}
