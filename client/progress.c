/* The line that is kept up to date while a job is followed on a terminal. Elsewhere nothing is shown between the changes of state. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "client_int.h"

#define INTERVAL_MS 1000
#define DAY_MS 86400000LL

void weir_progress_init(struct weir_progress *progress, const struct weir_client *client, bool wanted)
{
    const char *term = getenv("TERM");
    *progress = (struct weir_progress){.client = client};
    progress->live = wanted && !client->json && isatty(2) && !(term && (!*term || strcmp(term, "dumb") == 0));
}

void weir_progress_clear(struct weir_progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}

/* Of a stream of today how far it is behind; of another day where it is. */
static void watermark_text(char out[96], int64_t watermark_ms)
{
    char text[WEIR_TEXT_SIZE];
    out[0] = 0;
    if (watermark_ms < 0) /* none yet, or before 1970 */
        return;
    int64_t lag_ms = weir_clock_wall_ms() - watermark_ms;
    if (lag_ms >= 0 && lag_ms < DAY_MS)
        snprintf(out, 96, ", watermark %s behind", weir_text_duration(text, lag_ms));
    else if (watermark_ms < 253402300800000LL) /* else the end of the input */
        snprintf(out, 96, ", watermark %s", weir_text_time(text, watermark_ms));
}

void weir_progress_show(struct weir_progress *progress, const struct weir_progress_state *state)
{
    char line[512], count_in[WEIR_TEXT_SIZE], count_out[WEIR_TEXT_SIZE], rate_in[WEIR_TEXT_SIZE],
        rate_out[WEIR_TEXT_SIZE], time[WEIR_TEXT_SIZE], watermark[96], more[96] = "";
    int64_t now_ms = weir_clock_mono_ms();
    if (!progress->live || (progress->shown && now_ms - progress->last_ms < INTERVAL_MS))
        return;
    double seconds = progress->last_ms ? (double)(now_ms - progress->last_ms) / 1000.0 : 0;
    /* A region that restarted counts anew. */
    bool known = seconds > 0 && state->records_in >= progress->last_in && state->records_out >= progress->last_out;
    progress->in_per_s = known ? (double)(state->records_in - progress->last_in) / seconds : 0;
    progress->out_per_s = known ? (double)(state->records_out - progress->last_out) / seconds : 0;
    progress->last_ms = now_ms;
    progress->last_in = state->records_in;
    progress->last_out = state->records_out;
    watermark_text(watermark, state->watermark_ms);
    if (state->restarts || state->records_bad || state->records_late)
        snprintf(more, sizeof more, ", %lld restarts, %lld bad, %lld late", (long long)state->restarts,
                 (long long)state->records_bad, (long long)state->records_late);
    snprintf(line, sizeof line, " %s, %d/%d tasks, in %s (%s), out %s (%s)%s%s",
             weir_text_duration(time, state->duration_ms / 1000 * 1000), state->tasks_running, state->task_count,
             weir_text_count(count_in, state->records_in), weir_text_rate(rate_in, progress->in_per_s),
             weir_text_count(count_out, state->records_out), weir_text_rate(rate_out, progress->out_per_s), watermark,
             more);
    int room = weir_client_width(2) - (int)strlen(state->state) - 1; /* the last column would wrap */
    fprintf(stderr, "\r\033[K%s%s%s%.*s", weir_client_color(progress->client, 2, weir_client_state_color(state->state)),
            state->state, weir_client_color(progress->client, 2, WEIR_COLOR_NONE), room > 0 ? room : 0, line);
    fflush(stderr);
    progress->shown = true;
}

static void add_operator(const json_t *operator_, struct weir_progress_state *state)
{
    const char *op = weir_json_text(operator_, "op");
    const json_t *watermark = json_object_get(operator_, "watermark");
    if (strcmp(op, "source") == 0)
        state->records_in += weir_json_number(operator_, "records-out");
    if (strcmp(op, "sink") == 0)
        state->records_out += weir_json_number(operator_, "records-in");
    state->records_bad += weir_json_number(operator_, "records-bad");
    state->records_late += weir_json_number(operator_, "late-dropped");
    if (json_is_integer(watermark) && strcmp(op, "sink") == 0 &&
        (state->watermark_ms == INT64_MIN || json_integer_value(watermark) < state->watermark_ms))
        state->watermark_ms = json_integer_value(watermark);
}

void weir_progress_from_json(const json_t *job, struct weir_progress_state *state)
{
    size_t v, o;
    json_t *vertex, *operator_;
    *state = (struct weir_progress_state){.state = weir_json_text(job, "state"),
                                          .duration_ms = weir_json_number(job, "duration"),
                                          .restarts = weir_json_number(job, "weir-restarts"),
                                          .watermark_ms = INT64_MIN};
    json_array_foreach(json_object_get(job, "vertices"), v, vertex)
    {
        state->task_count += (int)weir_json_number(vertex, "parallelism");
        state->tasks_running += (int)weir_json_number(json_object_get(vertex, "tasks"), "RUNNING");
        json_array_foreach(json_object_get(vertex, "weir-operators"), o, operator_) add_operator(operator_, state);
    }
}
