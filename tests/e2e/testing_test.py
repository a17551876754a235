#!/usr/bin/env python3
"""<weir/testing.h> as a user has it: compiled by cc and pkg-config, run without a cluster; and what it says of mistakes."""
import os
import tempfile

from weir_test import BUILD, main, run

JOB = r"""
#include <weir/weir.h>

struct reading { struct weir_str device; double temperature; weir_ts at; };
WEIR_ROW(reading, WEIR_FIELD(device, "STRING NOT NULL"), WEIR_FIELD(temperature, "DOUBLE NOT NULL"), WEIR_FIELD(at, "TIMESTAMP(3) NOT NULL"));
struct alert { WEIR_NULLS(alert); struct weir_str device; double rise; struct weir_str why; };
WEIR_ROW_NULLS(alert, WEIR_FIELD(device, "STRING NOT NULL"), WEIR_FIELD(rise, "DOUBLE"), WEIR_FIELD(why, "STRING NOT NULL"));
struct rule { struct weir_str name; double most; };
WEIR_ROW(rule, WEIR_FIELD(name, "STRING NOT NULL"), WEIR_FIELD(most, "DOUBLE NOT NULL"));

WEIR_VALUE_STATE(last, "DOUBLE", .ttl = "1 h");
WEIR_LIST_STATE(all, "DOUBLE");
WEIR_BROADCAST_STATE(rules, "STRING", "DOUBLE");
WEIR_SIDE_OUTPUT(cold, reading);
static int calls; /* a mistake: gone when an instance goes on from a checkpoint elsewhere; here the process is the same */

static int spike(struct weir_ctx *ctx, const struct reading *r, struct weir_out *out)
{
    const double *before = weir_value_get(ctx, &last);
    if (r->temperature < -273)
        return WEIR_FAIL(ctx, "colder than cold: %g", r->temperature);
    if (r->temperature < 0)
        weir_emit_side(ctx, &cold, r);
    if (before && r->temperature - *before > 20) {
        struct alert a = {.device = r->device, .rise = r->temperature - *before, .why = {"spike", 5}};
        weir_emit(out, &a);
    }
    weir_list_add(ctx, &all, &r->temperature);
    weir_timer_event(ctx, r->at + 60000);
    weir_timer_processing(ctx, weir_now(ctx) + 5000);
    calls++;
    return weir_value_put(ctx, &last, &r->temperature);
}

static int quiet(struct weir_ctx *ctx, weir_ts time, struct weir_out *out)
{
    size_t count = 0;
    (void)time;
    weir_list_get(ctx, &all, &count);
    struct alert a = {.device = weir_key(ctx, reading)->device, .rise = (double)count, .why = {"quiet", 5}};
    if (weir_timer_kind(ctx) == WEIR_TIMER_PROCESSING)
        a.why = (struct weir_str){"clock", 5}, weir_set_null(&a, rise, true);
    return weir_emit(out, &a);
}

static int apply(struct weir_ctx *ctx, const struct rule *r, struct weir_out *out)
{
    (void)out;
    return weir_map_put(ctx, &rules, &r->name, &r->most);
}

static int judge(struct weir_ctx *ctx, const struct reading *r, struct weir_out *out)
{
    struct weir_str most = {"most", 4};
    const double *value = weir_map_get(ctx, &rules, &most);
    if (value && r->temperature > *value)
        return weir_emit(out, r);
    return 0;
}
"""
HEAD = '#include <assert.h>\n#include <stdio.h>\n#include <string.h>\n#include "job.c"\n#include <weir/testing.h>\n'
SPIKES = 'weir_test_process("device", WEIR_ON_ROW(reading, alert, spike), .on_timer = quiet)'
A = '.device = weir_test_text("a")'


def program(body, argument="", job=JOB):
    """A test of that main(), compiled as the guide says, run."""
    with tempfile.TemporaryDirectory() as directory:
        for name, text in (("job.c", job), ("test.c", f"{HEAD}int main(void)\n{{\n{body}\nreturn 0;\n}}\n")):
            with open(os.path.join(directory, name), "w") as file:
                file.write(text)
        done = run("sh", "-ec", 'cc -Wall -Wextra -Werror -Wno-unused-function -Wno-unused-variable -g test.c -o test $(pkg-config --cflags weir) -lweir-testing '
                   '$(pkg-config --libs weir) -Wl,-rpath,$(pkg-config --variable=libdir weir) && ./test', cwd=directory,
                   env={"PKG_CONFIG_PATH": os.path.join(BUILD, "lib", "pkgconfig")})
        return done


def passes(body, **more):
    done = program(body, **more)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def says(body, *words):
    done = program(body)
    assert done.returncode == 1 and "test.c:" in done.stderr, (done.returncode, done.stderr)
    for word in words:
        assert word in done.stderr, (word, done.stderr)


def test_rows_state_timers_and_restoring():
    for restoring in ("", "weir_test_restore_always(test);"):
        passes(f"""
    struct weir_test *test = {SPIKES};
    {restoring}
    weir_test_row(test, reading, {A}, .temperature = 20, .at = 1000);
    assert(!weir_test_next(test, alert));
    weir_test_row(test, reading, .device = weir_test_text("b"), .temperature = 90, .at = 1000); /* another key */
    weir_test_restore(test);
    struct reading two[] = {{{{{{"a", 1}}, 50, 2000}}, {{{{"b", 1}}, 91, 2000}}}};
    weir_test_rows(test, reading, two, 2);
    const struct alert *first = weir_test_next(test, alert);
    assert(first && first->rise == 30 && first->device.size == 1 && first->device.data[0] == 'a' && !weir_is_null(first, rise));
    assert(!weir_test_next(test, alert));
    assert(weir_test_timer(test) == 5000);
    weir_test_time(test, 4999);
    assert(!weir_test_next(test, alert));
    weir_test_time(test, 6000);
    for (int i = 0; i < 2; i++) {{
        const struct alert *clock = weir_test_next(test, alert);
        assert(clock && clock->why.size == 5 && memcmp(clock->why.data, "clock", 5) == 0 && weir_is_null(clock, rise));
    }}
    assert(!weir_test_next(test, alert));
    weir_test_watermark(test, 61000);
    for (int i = 0; i < 2; i++) {{
        const struct alert *a = weir_test_next(test, alert);
        assert(a && a->rise == 2 && memcmp(a->why.data, "quiet", 5) == 0);
    }}
    assert(!weir_test_next(test, alert));
    weir_test_end(test); /* the timers of 62000 */
    assert(weir_test_next(test, alert) && weir_test_next(test, alert) && !weir_test_next(test, alert));
    assert(first->rise == 30 && first->device.data[0] == 'a');
    weir_test_free(test);""")


def test_time_to_live_and_side_outputs():
    passes(f"""
    struct weir_test *test = {SPIKES};
    weir_test_side(test, &cold);
    weir_test_row(test, reading, {A}, .temperature = -5);
    const struct reading *side = weir_test_next_side(test, &cold);
    assert(side && side->temperature == -5 && !weir_test_next_side(test, &cold));
    weir_test_time(test, 2 * 3600000); /* the value is over, the list is not */
    while (weir_test_next(test, alert))
        continue;
    weir_test_row(test, reading, {A}, .temperature = 500, .at = 1);
    assert(!weir_test_next(test, alert));
    weir_test_free(test);""")


def test_two_inputs():
    passes(f"""
    struct weir_test *test = weir_test_process_broadcast(NULL, WEIR_ON_ROW(reading, reading, judge), WEIR_ON_ROW2(rule, apply));
    weir_test_row(test, reading, {A}, .temperature = 50);
    weir_test_row2(test, rule, .name = weir_test_text("most"), .most = 40);
    weir_test_restore(test);
    weir_test_row(test, reading, {A}, .temperature = 50);
    weir_test_row(test, reading, {A}, .temperature = 30);
    const struct reading *r = weir_test_next(test, reading);
    assert(r && r->temperature == 50 && !weir_test_next(test, reading));
    weir_test_free(test);""")


def test_a_function_that_fails():
    passes(f"""
    struct weir_test *test = {SPIKES};
    weir_test_row(test, reading, {A}, .temperature = 0);
    assert(!weir_test_fails(test));
    weir_test_row(test, reading, {A}, .temperature = -300);
    assert(weir_test_fails(test) && strstr(weir_test_fails(test), "colder than cold: -300"));
    weir_test_free(test);""")
    fails = f"struct weir_test *test = {SPIKES}; weir_test_row(test, reading, {A}, .temperature = -300);"
    says(fails + "weir_test_free(test);", "the function failed: ", "colder than cold: -300")
    says(fails + "weir_test_fails(test); weir_test_end(test);", "takes nothing more")


def test_mistakes_are_said():
    says('weir_test_process("devise", WEIR_ON_ROW(reading, alert, spike)); '
         'weir_test_process("devise, at", WEIR_ON_ROW(reading, alert, spike));', "devise")
    says('weir_test_process("device", .in = WEIR_ROW_OF(reading), .on_row = spike);', ".out is missing")
    says('weir_test_process("device", .in = WEIR_ROW_OF(reading), .out = WEIR_ROW_OF(alert));', ".on_row is missing")
    says(f'struct weir_test *test = {SPIKES}; weir_test_row(test, rule, .most = 1);', "takes rows of struct reading, not of rule")
    says(f'struct weir_test *test = {SPIKES}; weir_test_row2(test, rule, .most = 1);', "second input takes rows of struct nothing")
    says(f'struct weir_test *test = {SPIKES}; weir_test_next(test, reading);', "emits rows of struct alert")
    says(f'struct weir_test *test = {SPIKES}; weir_test_next_side(test, &cold);', "did not ask for the side output 'cold'")
    says(f'struct weir_test *test = {SPIKES}; weir_test_row(test, reading, .device = {{"\\xff", 1}});', "UTF-8")
    says(f'struct weir_test *test = {SPIKES}; weir_test_end(test); weir_test_restore(test);', "nothing comes after")
    done = program(f'struct weir_test *test = {SPIKES}; weir_test_row(test, reading, {A}); assert(weir_test_next(test, alert));')
    assert done.returncode != 0 and "Assertion" in done.stderr, done.stderr


if __name__ == "__main__":
    main(globals())
