/* weir-sim: runs seeds, replays, shrinks, and shows that planted bugs are caught. `weir-sim --help` lists the options. */
#include <getopt.h>
#include <setjmp.h>
#include <signal.h>
#include <time.h>

#include "tests/sim/sim.h"

enum weir_mutant weir_mutant_active = WEIR_MUTANT_none;

static const struct {
    const char *name, *guard;
} mutants[] = {{"none", "nothing"},
#define X(name, text) {#name, text},
               WEIR_MUTANT_LIST(X)
#undef X
};

static const char *const counter_names[C_COUNT] = {
#define X(name) #name,
    SIM_COUNTERS(X)
#undef X
};

/* --- One run. A failed assertion of a core is a finding like any other. */

static jmp_buf escape;
static volatile sig_atomic_t running;

static void on_abort(int signal_number)
{
    (void)signal_number;
    if (running)
        longjmp(escape, 2);
}

struct result {
    bool failed;
    char name[64], text[512];
    uint64_t hash, events;
    uint64_t counters[C_COUNT];
};

struct edits { /* what the shrinker has removed */
    bool fault_off[SIM_FAULTS_MAX];
    bool op_off[SIM_OPS_MAX];
};

static void run_seed(uint64_t seed, const struct edits *edits, FILE *trace_file, struct result *result)
{
    struct world *w = world_new(seed);
    world_prepare(w);
    for (int i = 0; edits && i < w->fault_count; i++)
        w->faults[i].off = edits->fault_off[i];
    for (int i = 0; edits && i < w->op_count; i++)
        w->ops_list[i].off = edits->op_off[i];
    w->trace = trace_file;
    w->escape = &escape;
    memset(result, 0, sizeof *result);
    running = 1;
    int how = setjmp(escape);
    if (how == 0)
        world_run(w);
    running = 0;
    result->hash = w->hash;
    result->events = w->events;
    memcpy(result->counters, w->counters, sizeof result->counters);
    if (how == 0) {
        world_free(w);
        return;
    }
    result->failed = true;
    if (how == 1) {
        memcpy(result->name, w->failure_name, sizeof result->name);
        memcpy(result->text, w->failure, sizeof result->text);
        world_free(w);
    } else { /* a core stopped half-way: what it holds cannot be freed */
        snprintf(result->name, sizeof result->name, "assertion");
        snprintf(result->text, sizeof result->text, "an assertion of a core failed at %" PRId64 " ms (see above)",
                 w->now_ms);
        if (trace_file)
            fprintf(trace_file, "VIOLATION assertion\n");
    }
}

/* --- Shrink: leave out faults, then operations, half of them, a quarter, ... one, while the same thing is found. */

static bool still_fails(uint64_t seed, const struct edits *edits, const char *name)
{
    struct result result;
    run_seed(seed, edits, NULL, &result);
    return result.failed && strcmp(result.name, name) == 0;
}

static int shrink_list(uint64_t seed, struct edits *edits, bool *list, int count, const char *name)
{
    int left = count;
    for (int chunk = count; chunk > 0; chunk /= 2)
        for (int at = 0; at < count; at += chunk) {
            struct edits before = *edits;
            int removed = 0;
            for (int i = at; i < at + chunk && i < count; i++) {
                removed += !list[i];
                list[i] = true;
            }
            if (removed && still_fails(seed, edits, name))
                left -= removed;
            else
                *edits = before;
        }
    return left;
}

static void shrink(uint64_t seed, const char *name)
{
    struct world *w = world_new(seed);
    world_prepare(w);
    struct edits edits = {0};
    int faults = shrink_list(seed, &edits, edits.fault_off, w->fault_count, name);
    int ops = shrink_list(seed, &edits, edits.op_off, w->op_count, name);
    printf("shrunk seed %" PRIu64 " (%s): %d of %d faults, %d of %d operations are needed:\n", seed, name, faults,
           w->fault_count, ops, w->op_count);
    for (int i = 0; i < w->fault_count; i++)
        if (!edits.fault_off[i])
            printf("  at %" PRId64 " ms: %s target %d value %d for %" PRId64 " ms\n", w->faults[i].at_ms,
                   fault_names[w->faults[i].kind], w->faults[i].target, w->faults[i].value, w->faults[i].duration_ms);
    world_free(w);
    struct result result;
    printf("--- trace\n");
    run_seed(seed, &edits, stdout, &result);
}

/* --- Many runs */

struct options {
    uint64_t seed, seeds;
    bool trace, stats, shrink, sometimes, all;
    const char *known; /* file */
};

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void print_stats(const uint64_t *counters)
{
    for (int i = 0; i < C_COUNT; i++)
        printf("  %-28s %" PRIu64 "\n", counter_names[i], counters[i]);
}

static void report_failure(uint64_t seed, const struct result *result)
{
    printf("FAIL seed %" PRIu64 ": %s: %s\n", seed, result->name, result->text);
    printf("replay: weir-sim --seed %" PRIu64 " --trace%s%s; smaller: --shrink\n", seed,
           weir_mutant_active ? " --mutant " : "", weir_mutant_active ? mutants[weir_mutant_active].name : "");
}

static int run_seeds(const struct options *options)
{
    uint64_t counters[C_COUNT] = {0}, hash = 0, failed = 0;
    uint32_t *events = weir_zalloc((size_t)options->seeds * sizeof *events);
    struct result result, again;
    clock_t started = clock();
    for (uint64_t i = 0; i < options->seeds; i++) {
        uint64_t seed = options->seed + i;
        run_seed(seed, NULL, options->trace ? stdout : NULL, &result);
        if (result.failed) {
            report_failure(seed, &result);
            if (options->all) {
                fflush(stdout);
                failed++;
                continue;
            }
            if (options->stats)
                print_stats(result.counters);
            if (options->shrink)
                shrink(seed, result.name);
            free(events);
            return 1;
        }
        if (options->seeds > 1 ? i % 1000 == 0 : true) { /* the same seed, the same run */
            run_seed(seed, NULL, NULL, &again);
            if (again.hash != result.hash || again.events != result.events) {
                printf("FAIL seed %" PRIu64 ": it ran differently the second time: %016" PRIx64 " and %016" PRIx64 "\n",
                       seed, result.hash, again.hash);
                free(events);
                return 1;
            }
        }
        events[i] = (uint32_t)result.events;
        hash = (hash ^ result.hash) * 0x9e3779b97f4a7c15u;
        for (int k = 0; k < C_COUNT; k++)
            counters[k] += result.counters[k];
    }
    qsort(events, options->seeds, sizeof *events, compare_u32);
    if (failed)
        printf("FAIL %" PRIu64 " of %" PRIu64 " seeds from %" PRIu64 "\n", failed, options->seeds, options->seed);
    else
        printf("OK %" PRIu64 " seeds from %" PRIu64 ": %" PRIu64 " events, median %" PRIu32 ", least %" PRIu32
               ", %.1f s of CPU, trace hash %016" PRIx64 "\n",
               options->seeds, options->seed, counters[C_events], events[options->seeds / 2], events[0],
               (double)(clock() - started) / CLOCKS_PER_SEC, hash);
    uint32_t median = events[options->seeds / 2];
    free(events);
    if (options->stats)
        print_stats(counters);
    int missed = failed > 0;
    for (int k = 0; k < C_COUNT && options->sometimes; k++)
        if (counters[k] == 0) {
            printf("FAIL never reached: %s\n", counter_names[k]);
            missed++;
        }
    if (options->sometimes && median < 1000) {
        printf("FAIL the median seed has %" PRIu32 " events, fewer than 1000\n", median);
        missed++;
    }
    return missed ? 1 : 0;
}

/* The seed that caught a mutant when the file was written ("NAME SEED" a line); 0: none. It spares the search for as long as it still does. */
static uint64_t known_seed(const char *path, const char *mutant)
{
    FILE *file = path ? fopen(path, "r") : NULL;
    char name[64];
    uint64_t seed = 0, found = 0;
    while (file && fscanf(file, "%63s %" SCNu64, name, &seed) == 2)
        if (strcmp(name, mutant) == 0)
            found = seed;
    if (file)
        fclose(file);
    return found;
}

static bool is_caught(uint64_t seed, struct result *result)
{
    run_seed(seed, NULL, NULL, result);
    return result->failed;
}

/* Each mutant must be caught, and not by the very first event: a guard that nothing needs to trigger is no guard. */
static int run_mutants(const struct options *options)
{
    int missed = 0, stale = 0;
    for (int m = 1; m < WEIR_MUTANTS; m++) {
        weir_mutant_active = (enum weir_mutant)m;
        struct result result;
        uint64_t seed = known_seed(options->known, mutants[m].name), end = options->seed + options->seeds;
        bool caught = seed > 0 && is_caught(seed, &result);
        stale += options->known && !caught;
        for (uint64_t i = options->seed; i < end && !caught; i++) {
            seed = i;
            caught = is_caught(seed, &result);
        }
        weir_mutant_active = WEIR_MUTANT_none;
        bool early = caught && result.events < 20;
        if (caught && !early)
            printf("CAUGHT %-28s by seed %5" PRIu64 ", event %6" PRIu64 ": %s (%s)\n", mutants[m].name, seed,
                   result.events, result.name, mutants[m].guard);
        else
            printf("%s %-28s (%s)\n", early ? "AT ONCE" : "MISSED", mutants[m].name, mutants[m].guard);
        fflush(stdout);
        missed += !caught || early;
    }
    if (stale)
        printf("%d seeds of %s catch their mutant no more (make sim-known writes it anew)\n", stale, options->known);
    return missed ? 1 : 0;
}

/* --- Command line */

static void usage(FILE *out)
{
    fprintf(out, "weir-sim: the cluster in a deterministic simulator\n"
                 "  --seed N        the (first) seed; default 1\n"
                 "  --seeds COUNT   how many; default 1\n"
                 "  --trace         print every event\n"
                 "  --stats         print how often rare states were reached\n"
                 "  --sometimes     fail when one of them was never reached, or the median seed is short\n"
                 "  --all           go on after a seed that fails\n"
                 "  --shrink        make a failing seed smaller\n"
                 "  --mutant NAME   with this guard of a core removed\n"
                 "  --mutants       each mutant in turn over the seeds: each must be caught\n"
                 "  --known FILE    seeds that caught them, tried first\n"
                 "  --list-mutants\n");
}

static int find_mutant(const char *name)
{
    for (int m = 0; m < WEIR_MUTANTS; m++)
        if (strcmp(mutants[m].name, name) == 0)
            return m;
    fprintf(stderr, "there is no mutant '%s'; --list-mutants lists them\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {{"seed", required_argument, NULL, 's'},
                                                 {"seeds", required_argument, NULL, 'n'},
                                                 {"trace", no_argument, NULL, 't'},
                                                 {"stats", no_argument, NULL, 'c'},
                                                 {"shrink", no_argument, NULL, 'k'},
                                                 {"mutant", required_argument, NULL, 'm'},
                                                 {"mutants", no_argument, NULL, 'M'},
                                                 {"list-mutants", no_argument, NULL, 'l'},
                                                 {"sometimes", no_argument, NULL, 'o'},
                                                 {"all", no_argument, NULL, 'a'},
                                                 {"known", required_argument, NULL, 'w'},
                                                 {"help", no_argument, NULL, 'h'},
                                                 {NULL, 0, NULL, 0}};
    struct options options = {.seed = 1, .seeds = 1};
    bool all_mutants = false;
    for (int c; (c = getopt_long(argc, argv, "h", long_options, NULL)) != -1;)
        switch (c) {
        case 's':
            options.seed = strtoull(optarg, NULL, 10);
            break;
        case 'n':
            options.seeds = strtoull(optarg, NULL, 10);
            break;
        case 't':
            options.trace = true;
            break;
        case 'c':
            options.stats = true;
            break;
        case 'k':
            options.shrink = true;
            break;
        case 'a':
            options.all = true;
            break;
        case 'o':
            options.sometimes = true;
            break;
        case 'm':
            weir_mutant_active = (enum weir_mutant)find_mutant(optarg);
            break;
        case 'w':
            options.known = optarg;
            break;
        case 'M':
            all_mutants = true;
            break;
        case 'l':
            for (int m = 1; m < WEIR_MUTANTS; m++)
                printf("%-28s %s\n", mutants[m].name, mutants[m].guard);
            return 0;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    if (options.seeds < 1 || options.seeds > 100000000) {
        fprintf(stderr, "--seeds: from 1 to 100000000\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = on_abort, .sa_flags = SA_NODEFER};
    sigaction(SIGABRT, &action, NULL);
    return all_mutants ? run_mutants(&options) : run_seeds(&options);
}
