/* Runs a fuzz target without libFuzzer: over its corpus, then over mutations of it by a seed. Prints TAP.
 *
 *   NAME_fuzz                      corpus of this name, and mutations for about a second
 *   NAME_fuzz FILE...              these inputs only (to look into what was found)
 *   NAME_fuzz --write-seeds DIR    writes the corpus that the target makes by real encoders
 * Environment: WEIR_FUZZ_SEED, WEIR_FUZZ_RUNS (most mutations, 4000), WEIR_FUZZ_MS (most time for them, 1000),
 * WEIR_FUZZ_FOUND (folder for an input that fails; build/fuzz-found).
 *
 * Bounds for one input: 10 s, and 512 MB more memory than the process began with.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "fuzz/fuzz.h"

#pragma weak fuzz_seeds

#define INPUT_SIZE_MAX ((size_t)256 << 10)
#define INPUT_SECONDS_MAX 10
#define MEMORY_MAX ((rlim_t)512 << 20)

struct input {
    char *name;
    uint8_t *bytes;
    size_t size;
};
struct set { /* of inputs, or of a dictionary's words */
    struct input *items;
    int count;
};

static const uint8_t *volatile current;
static volatile size_t current_size;
static char found_path[4096];
static uint64_t random_state = 1;

/* --- When it fails: the input is kept */

static void say(const char *text)
{
    if (write(1, text, strlen(text)) < 0)
        _exit(1);
}

static void on_signal(int number)
{
    if (current) {
        int fd = open(found_path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (fd >= 0 && write(fd, (const void *)current, current_size) >= 0) {
            say(number == SIGALRM ? "# no end within 10 s, with the input " : "# failed with the input ");
            say(found_path);
            say("\n");
        }
    }
    say("not ok - an input makes it fail\n");
    signal(number, SIG_DFL);
    raise(number == SIGALRM ? SIGKILL : number);
}

/* Sanitizers end the process by themselves. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));
static void on_death(void)
{
    on_signal(SIGABRT);
}

static void prepare(const char *name)
{
    const char *folder = getenv("WEIR_FUZZ_FOUND");
    if (!folder) {
        mkdir("build", 0755);
        folder = "build/fuzz-found";
    }
    mkdir(folder, 0755);
    snprintf(found_path, sizeof found_path, "%s/%s", folder, name);
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGALRM};
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(on_death);
        signal(SIGALRM, on_signal);
        return;
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        signal(numbers[i], on_signal);
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long pages = 0;
    if (file && fscanf(file, "%*u %*u %*u %*u %*u %lu", &pages) == 1) {
        rlim_t most = MEMORY_MAX + (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
        setrlimit(RLIMIT_DATA, &(struct rlimit){most, most});
    }
    if (file)
        fclose(file);
}

static void run(const uint8_t *bytes, size_t size)
{
    /* A copy of its own size: what is read beyond it is seen by AddressSanitizer. */
    uint8_t *copy = weir_alloc(size ? size : 1);
    if (size > 0)
        memcpy(copy, bytes, size);
    current = copy;
    current_size = size;
    alarm(INPUT_SECONDS_MAX);
    LLVMFuzzerTestOneInput(copy, size);
    alarm(0);
    current = NULL;
    free(copy);
}

/* --- Corpus and dictionary */

static void add(struct set *set, const char *name, const uint8_t *bytes, size_t size)
{
    set->items = weir_realloc(set->items, (size_t)(set->count + 1) * sizeof *set->items);
    struct input *input = &set->items[set->count++];
    *input = (struct input){weir_strdup(name), weir_alloc(size ? size : 1), size};
    if (size > 0)
        memcpy(input->bytes, bytes, size);
}

static bool add_file(struct set *set, const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    uint8_t *bytes = weir_alloc(INPUT_SIZE_MAX);
    size_t size = fread(bytes, 1, INPUT_SIZE_MAX, file);
    fclose(file);
    add(set, path, bytes, size);
    free(bytes);
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct input *)a)->name, ((const struct input *)b)->name);
}

static void add_folder(struct set *set, const char *path)
{
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        char *file = weir_format("%s/%s", path, entry->d_name);
        add_file(set, file);
        free(file);
    }
    if (folder)
        closedir(folder);
    if (set->count > 0)
        qsort(set->items, (size_t)set->count, sizeof *set->items, by_name);
}

/* libFuzzer's: a quoted word a line, with \\, \" and \xNN; # begins a comment. */
static void add_words(struct set *set, const char *path)
{
    FILE *file = fopen(path, "re");
    char line[1024];
    while (file && fgets(line, sizeof line, file)) {
        const char *c = strchr(line, '"'), *end = strrchr(line, '"');
        if (line[0] == '#' || !c || c == end)
            continue;
        uint8_t word[1024];
        size_t size = 0;
        unsigned code;
        for (c++; c < end; c++) {
            if (*c == '\\' && c[1] == 'x' && sscanf(c + 2, "%2x", &code) == 1) {
                word[size++] = (uint8_t)code;
                c += 3;
            } else {
                c += *c == '\\';
                word[size++] = (uint8_t)*c;
            }
        }
        add(set, "", word, size);
    }
    if (file)
        fclose(file);
}

static void set_fini(struct set *set)
{
    for (int i = 0; i < set->count; i++) {
        free(set->items[i].name);
        free(set->items[i].bytes);
    }
    free(set->items);
}

/* --- Mutations */

static uint64_t random_next(void)
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t below(size_t bound)
{
    return bound ? (size_t)(random_next() % bound) : 0;
}

static size_t insert(uint8_t *bytes, size_t size, size_t at, const uint8_t *what, size_t count)
{
    uint8_t part[4096];
    if (count > sizeof part)
        count = sizeof part;
    if (size + count > INPUT_SIZE_MAX)
        return size;
    memcpy(part, what, count); /* it may lie in `bytes` */
    memmove(bytes + at + count, bytes + at, size - at);
    memcpy(bytes + at, part, count);
    return size + count;
}

static size_t mutate_once(uint8_t *bytes, size_t size, const struct set *corpus, const struct set *words)
{
    static const uint64_t interesting[] = {0,      1,      0x7f,       0x80,       0xff,       0x7fff,
                                           0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, UINT64_MAX};
    size_t at = below(size + 1), count = below(8) ? 1 + below(8) : below(size + 1);
    uint8_t random = (uint8_t)random_next();
    switch (below(8)) {
    case 0: /* one bit */
        if (at < size)
            bytes[at] ^= (uint8_t)(1u << (random & 7));
        return size;
    case 1: /* one byte */
        if (at < size)
            bytes[at] = random;
        return size;
    case 2: /* a number at its bounds */
        count = (size_t)1 << (random & 3);
        if (at + count <= size)
            memcpy(bytes + at, &interesting[below(12)], count);
        return size;
    case 3: /* less */
        count = at + count <= size ? count : size - at;
        memmove(bytes + at, bytes + at + count, size - at - count);
        return size - count;
    case 4: /* the same again */
        count = at + count <= size ? count : size - at;
        return insert(bytes, size, at, bytes + at, count);
    case 5: /* a word */
        if (words->count == 0)
            return insert(bytes, size, at, &random, 1);
        count = below((size_t)words->count);
        return insert(bytes, size, at, words->items[count].bytes, words->items[count].size);
    case 6: { /* a part of another input */
        const struct input *other = &corpus->items[below((size_t)corpus->count)];
        size_t from = below(other->size + 1);
        return insert(bytes, size, at, other->bytes + from, below(other->size - from + 1));
    }
    default: /* cut off */
        return below(4) ? insert(bytes, size, at, &random, 1) : at;
    }
}

static long mutate(const struct set *corpus, const struct set *words)
{
    const char *runs = getenv("WEIR_FUZZ_RUNS"), *ms = getenv("WEIR_FUZZ_MS");
    long runs_max = runs ? atol(runs) : 4000, ms_max = ms ? atol(ms) : 1000, done = 0;
    int64_t end_ms = weir_clock_mono_ms() + ms_max;
    uint8_t *bytes = weir_alloc(INPUT_SIZE_MAX);
    for (; done < runs_max && weir_clock_mono_ms() < end_ms; done++) {
        const struct input *input = &corpus->items[below((size_t)corpus->count)];
        size_t size = input->size;
        memcpy(bytes, input->bytes, size);
        for (size_t n = 1 + below(6); n > 0; n--)
            size = mutate_once(bytes, size, corpus, words);
        run(bytes, size);
    }
    free(bytes);
    return done;
}

/* --- */

static const char *seeds_folder;

static void put_seed(const char *name, const void *bytes, size_t size)
{
    char *path = weir_format("%s/%s", seeds_folder, name);
    FILE *file = fopen(path, "we");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
    free(path);
}

static int run_files(int count, char **paths)
{
    for (int i = 0; i < count; i++) {
        struct set set = {NULL, 0};
        if (!add_file(&set, paths[i])) {
            perror(paths[i]);
            return 1;
        }
        run(set.items[0].bytes, set.items[0].size);
        printf("ok - %s\n", paths[i]);
        set_fini(&set);
    }
    return 0;
}

int main(int argc, char **argv)
{
    char name[100];
    const char *slash = strrchr(argv[0], '/');
    snprintf(name, sizeof name, "%s", slash ? slash + 1 : argv[0]);
    char *suffix = strstr(name, "_fuzz");
    if (suffix)
        *suffix = 0;
    if (argc == 3 && !strcmp(argv[1], "--write-seeds")) {
        seeds_folder = argv[2];
        if (fuzz_seeds)
            fuzz_seeds(put_seed);
        return 0;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    prepare(name);
    if (argc > 1)
        return run_files(argc - 1, argv + 1);
    const char *seed = getenv("WEIR_FUZZ_SEED");
    random_state = seed ? strtoull(seed, NULL, 10) : 1;
    struct set corpus = {NULL, 0}, words = {NULL, 0};
    char path[300];
    snprintf(path, sizeof path, "tests/fuzz/corpus/%s", name);
    add_folder(&corpus, path);
    snprintf(path, sizeof path, "tests/fuzz/dict/%s.dict", name);
    add_words(&words, path);
    if (corpus.count == 0) {
        printf("not ok - tests/fuzz/corpus/%s has no inputs (run it from the repository's root)\n", name);
        return 1;
    }
    run((const uint8_t *)"", 0);
    for (int i = 0; i < corpus.count; i++)
        run(corpus.items[i].bytes, corpus.items[i].size);
    printf("ok 1 - %s: %d inputs of the corpus\n", name, corpus.count);
    long done = mutate(&corpus, &words);
    printf("ok 2 - %s: mutations of them (%ld, seed %s)\n1..2\n", name, done, seed ? seed : "1");
    set_fini(&corpus);
    set_fini(&words);
    return 0;
}
