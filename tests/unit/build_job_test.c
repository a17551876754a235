/* Loading a job in a child process: good ones, and every kind of bad shared object. The test is its own child (`build-job`), and the
 * job objects, compiled here with the compiler that built the test, find the SDK in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "executor/build_job.h"
#include "executor/job_object.h"
#include "graph.pb-c.h"
#include "graph/build_client.h"
#include "graph/graph_build.h"
#include "weir/weir.h"

static char directory[] = "/tmp/weir-build-job-XXXXXX";

static char *path_of(const char *name)
{
    return weir_format("%s/%s", directory, name);
}

/* Compiles `body` after the SDK's header into <name>.so. */
static char *compile(const char *name, const char *body, const char *flags)
{
    char *source = weir_format("%s/%s.c", directory, name), *object = weir_format("%s/%s.so", directory, name);
    FILE *file = fopen(source, "w");
    assert_non_null(file);
    fprintf(file, "#include <weir/weir.h>\n%s\n", body);
    assert_int_equal(fclose(file), 0);
    const char *compiler = getenv("CC");
    char *command = weir_format("%s -std=gnu11 -shared -fPIC -Iinclude %s '%s' -o '%s'", compiler ? compiler : "cc",
                                flags, source, object);
    if (system(command) != 0)
        fail_msg("cannot compile %s", source);
    free(command), free(source);
    return object;
}

static char *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *bytes = weir_alloc((size_t)4 << 20);
    *size = fread(bytes, 1, (size_t)4 << 20, file);
    fclose(file);
    return bytes;
}

static char *write_file(const char *name, const void *bytes, size_t size)
{
    char *path = path_of(name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
    return path;
}

static struct weir_job_build build_of(const char *path)
{
    return (struct weir_job_build){.binary = "/proc/self/exe", .path = path};
}

static Weir__JobGraph *build_good(const struct weir_job_build *build)
{
    uint8_t *bytes;
    size_t size;
    struct weir_error error;
    if (weir_job_build(build, &bytes, &size, &error))
        fail_msg("%s", error.message);
    Weir__JobGraph *graph = weir__job_graph__unpack(NULL, size, bytes);
    assert_non_null(graph);
    free(bytes);
    return graph;
}

static void expect(const struct weir_job_build *given, weir_err code, const char *sentence)
{
    uint8_t *bytes;
    size_t size;
    struct weir_error error = {.message = ""};
    struct weir_job_build build = *given;
    char *log = NULL;
    if (!build.log)
        build.log = &log;
    weir_err err = weir_job_build(&build, &bytes, &size, &error);
    if (err != code || !strstr(error.message, sentence))
        fail_msg("%s: code %s, '%s'; expected %s, '%s'", build.path, weir_err_name(err), error.message,
                 weir_err_name(code), sentence);
    assert_null(bytes);
    free(log);
}

#define GOOD \
    "#include <stdio.h>\n" \
    "WEIR_JOB(good)\n{\n" \
    "    struct weir_stream *s = weir_columns(weir_source(job, \"filesystem\", \"path\", weir_arg(job, \"input\", \"in\"),\n" \
    "        \"format\", \"json\", NULL), \"id BIGINT NOT NULL\");\n" \
    "    printf(\"said by the job\\n\");\n" \
    "    weir_sink(weir_name(weir_filter(s, weir_text(job, \"id > %d\", (int)weir_arg_int(job, \"least\", 3))), \"big\"),\n" \
    "        \"print\", NULL);\n}"

/* --- Good */

static void a_job_becomes_a_graph(void **state)
{
    char *path = compile("good", GOOD, "");
    const char *const arguments[] = {"--input", "a file", "--least=9"};
    const struct weir_key_value configuration[] = {{"parallelism.default", "2"}, {"a", "b=c"}};
    char *log = NULL, sha256[65];
    struct weir_job_build build = build_of(path);
    (void)state;
    build.name = "mine";
    build.parallelism = 4;
    build.arguments = arguments;
    build.argument_count = 3;
    build.configuration = configuration;
    build.configuration_count = 2;
    build.log = &log;
    Weir__JobGraph *graph = build_good(&build);
    assert_string_equal(graph->name, "mine");
    assert_int_equal(graph->parallelism, 4);
    assert_string_equal(graph->code_name, "good.so");
    assert_int_equal(weir_sha256_file_hex(path, sha256, NULL), 0);
    assert_string_equal(graph->code_sha256, sha256);
    assert_int_equal(graph->n_arguments, 3);
    assert_string_equal(graph->configuration[1]->value, "b=c");
    assert_int_equal(graph->n_vertices, 4); /* the splits' too */
    for (size_t i = 0; i < graph->n_vertices; i++) {
        if (strcmp(graph->vertices[i]->op, "filter") == 0)
            assert_string_equal(weir_graph_option(graph->vertices[i], "condition"), "id > 9");
        if (strcmp(graph->vertices[i]->op, "source") == 0)
            assert_string_equal(weir_graph_option(graph->vertices[i], "path"), "a file");
    }
    /* What it prints cannot get into the graph. */
    assert_string_equal(log, "said by the job\n");
    weir__job_graph__free_unpacked(graph, NULL);
    free(log), free(path);
}

static void help_lists_the_arguments(void **state)
{
    char *path = compile("good", GOOD, ""), *help = NULL, *log = NULL;
    const char *const arguments[] = {"--help"};
    uint8_t *bytes;
    size_t size;
    struct weir_error error;
    struct weir_job_build build = build_of(path);
    (void)state;
    build.arguments = arguments;
    build.argument_count = 1;
    build.help = &help;
    build.log = &log;
    assert_int_equal(weir_job_build(&build, &bytes, &size, &error), WEIR_ERR_CANCELED);
    assert_non_null(strstr(help, "--input"));
    assert_non_null(strstr(help, "whole number, default: 3"));
    free(help), free(log), free(path);
}

/* --- Files that are no job */

static void files_that_are_no_shared_object_are_refused(void **state)
{
    (void)state;
    char *path = path_of("missing.so");
    struct weir_job_build build = build_of(path);
    expect(&build, WEIR_ERR_INVALID, "No such file or directory");
    free(path);

    path = write_file("text.so", "hello, I am no ELF file at all", 30);
    build.path = path;
    expect(&build, WEIR_ERR_INVALID, "is not a shared object");
    free(path);

    path = write_file("empty.so", "", 0);
    build.path = path;
    expect(&build, WEIR_ERR_INVALID, "is empty");
    free(path);

    build.path = directory;
    expect(&build, WEIR_ERR_INVALID, "is not a file");

    size_t size;
    path = compile("object", GOOD, "");
    char *bytes = read_file(path, &size);
    ((Elf64_Ehdr *)(void *)bytes)->e_type = ET_REL;
    free(path);
    build.path = path = write_file("object.so", bytes, size);
    free(bytes);
    expect(&build, WEIR_ERR_INVALID, "is an object file, not a shared object");
    free(path);

    path = compile("nothing", "int x;", "");
    build.path = path;
    expect(&build, WEIR_ERR_INVALID, "defines no WEIR_JOB(name)");
    free(path);

    path = compile("fake",
                   "__attribute__((visibility(\"default\"))) const char other[64] = \"x\";\n"
                   "__asm__(\".globl weir_job_descriptor\\n.set weir_job_descriptor, other\");",
                   "");
    build.path = path;
    expect(&build, WEIR_ERR_INVALID, "is not one of WEIR_JOB");
    free(path);
}

/* Cut at every place where a header ends, and at many others: a sentence, never a signal. */
static void objects_that_are_cut_off_are_refused(void **state)
{
    char *path = compile("good", GOOD, "");
    size_t size;
    char *bytes = read_file(path, &size);
    size_t cuts[] = {1, 4, 15, 16, 63, 64, 65, 120, 500, size / 4, size / 2, size - size / 8, size - 64, size - 1};
    (void)state;
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        char *cut = write_file("cut.so", bytes, cuts[i]);
        struct weir_error error;
        assert_int_equal(weir_job_object_check(cut, &error), WEIR_ERR_INVALID);
        assert_true(strstr(error.message, "cut off") || strstr(error.message, "not a shared object"));
        free(cut);
    }
    char *cut = write_file("cut.so", bytes, size / 2);
    struct weir_job_build build = build_of(cut);
    expect(&build, WEIR_ERR_INVALID, "is cut off or damaged");
    free(cut), free(bytes), free(path);
}

/* Any byte of the headers changed, by seed: the check never reads outside of the file (the sanitizers would tell). */
static void damaged_headers_do_no_harm(void **state)
{
    char *path = compile("good", GOOD, "");
    size_t size;
    char *bytes = read_file(path, &size);
    uint64_t seed = 42;
    (void)state;
    for (int round = 0; round < 3000; round++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t section_table = ((Elf64_Ehdr *)(void *)bytes)->e_shoff;
        size_t at = round % 2 ? (seed >> 33) % 1024 : section_table + (seed >> 33) % (size - section_table);
        char kept = bytes[at];
        bytes[at] = (char)(seed >> 20);
        char *damaged = write_file("damaged.so", bytes, size);
        struct weir_error error;
        weir_err err = weir_job_object_check(damaged, &error);
        assert_true(err == 0 || error.message[0]);
        bytes[at] = kept;
        free(damaged);
    }
    free(bytes), free(path);
}

static void another_architecture_is_refused(void **state)
{
    char *path = compile("good", GOOD, "");
    size_t size;
    char *bytes = read_file(path, &size);
    Elf64_Ehdr *header = (Elf64_Ehdr *)(void *)bytes;
    (void)state;
    header->e_machine = header->e_machine == EM_AARCH64 ? EM_X86_64 : EM_AARCH64;
    char *other = write_file("other.so", bytes, size);
    struct weir_job_build build = build_of(other);
    expect(&build, WEIR_ERR_INVALID, "is built for another machine: ");
    free(other);
    header->e_machine = 0x7777;
    build.path = other = write_file("other.so", bytes, size);
    expect(&build, WEIR_ERR_INVALID, "machine 30583");
    free(other), free(bytes), free(path);
}

static void a_newer_abi_is_refused_before_its_code_runs(void **state)
{
    static const struct {
        int major, minor;
        bool ok;
    } cases[] = {{WEIR_ABI_MAJOR, WEIR_ABI_MINOR + 1, false},
                 {WEIR_ABI_MAJOR + 1, 0, false},
                 {WEIR_ABI_MAJOR, WEIR_ABI_MINOR, true}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *body = weir_format(
            "#undef WEIR_ABI_MAJOR\n#undef WEIR_ABI_MINOR\n#define WEIR_ABI_MAJOR %d\n#define WEIR_ABI_MINOR %d\n"
            "%s %s",
            cases[i].major, cases[i].minor, GOOD,
            cases[i].ok ? ""
                        : "int of_the_future(void); __attribute__((constructor)) static void crash(void) "
                          "{ *(volatile int *)0 = of_the_future(); }");
        char *path = compile("newer", body, "");
        struct weir_job_build build = build_of(path);
        char *log = NULL;
        build.log = &log;
        if (cases[i].ok)
            weir__job_graph__free_unpacked(build_good(&build), NULL);
        else
            expect(&build, WEIR_ERR_INVALID, "is built against weir's ABI");
        free(log), free(path), free(body);
    }
}

static void an_unresolved_symbol_is_named(void **state)
{
    char *path = compile("unresolved",
                         "int not_there(int);\nWEIR_JOB(x) { weir_job_name(job, not_there(1) ? \"a\" : \"b\"); }", "");
    struct weir_job_build build = build_of(path);
    (void)state;
    expect(&build, WEIR_ERR_INVALID, "uses 'not_there', which is neither in it nor in a library");
    free(path);
}

/* --- Code that misbehaves while it builds */

static void a_crash_names_the_signal(void **state)
{
    char *path = compile("crash", "WEIR_JOB(x) { *(volatile int *)(job ? 8 : 0) = 1; }", "-w");
    struct weir_job_build build = build_of(path);
    (void)state;
    expect(&build, WEIR_ERR_USER_CODE, "crashed with SIGSEGV while building the graph");
    free(path);
    path = compile("abort", "#include <stdlib.h>\nWEIR_JOB(x) { abort(); }", "");
    build.path = path;
    expect(&build, WEIR_ERR_USER_CODE, "crashed with SIGABRT while building the graph");
    free(path);
    path = compile("exit", "#include <stdlib.h>\nWEIR_JOB(x) { exit(9); }", "");
    build.path = path;
    expect(&build, WEIR_ERR_USER_CODE, "ended the process with exit code 9");
    free(path);
    path = compile("exit0", "#include <stdlib.h>\nWEIR_JOB(x) { _Exit(0); }", "");
    build.path = path;
    expect(&build, WEIR_ERR_USER_CODE, "ended the process while building");
    free(path);
}

static void a_loop_is_ended(void **state)
{
    char *path = compile(
        "loop", "#include <signal.h>\nWEIR_JOB(x) { signal(SIGTERM, SIG_IGN); for (;;) __asm__ volatile(\"\"); }", "");
    struct weir_job_build build = build_of(path);
    (void)state;
    build.timeout_ms = 500;
    expect(&build, WEIR_ERR_TIMEOUT, "building the graph took longer than 0.5 s");
    free(path);
    /* Waiting, as against computing; in a constructor, as against the job's function. */
    path = compile(
        "wait",
        "#include <unistd.h>\n__attribute__((constructor)) static void wait_for(void) { for (;;) pause(); }\n" GOOD,
        "");
    build.path = path;
    expect(&build, WEIR_ERR_TIMEOUT, "building the graph took longer than 0.5 s");
    free(path);
}

/* The child of the child is gone with it. */
static void what_it_leaves_behind_is_killed(void **state)
{
    char *body =
        weir_format("#include <stdio.h>\n#include <unistd.h>\n"
                    "WEIR_JOB(x) { int pid = fork(); if (pid == 0) for (;;) pause();\n"
                    "FILE *f = fopen(\"%s/pid\", \"w\"); fprintf(f, \"%%d\", pid); fclose(f); for (;;) pause(); }",
                    directory);
    char *path = compile("fork", body, "-w"), *pid_path = path_of("pid");
    struct weir_job_build build = build_of(path);
    int pid = 0;
    (void)state;
    build.timeout_ms = 1000;
    expect(&build, WEIR_ERR_TIMEOUT, "took longer than");
    FILE *file = fopen(pid_path, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &pid), 1);
    fclose(file);
    assert_true(pid > 1);
    /* Killed by the group; it may still be a zombie that init has not fetched. */
    char *stat_path = weir_format("/proc/%d/stat", pid);
    for (int i = 0; i < 1000; i++) {
        char name[64], run_state = 'X';
        if (!(file = fopen(stat_path, "r")))
            break;
        int fields = fscanf(file, "%*d %63s %c", name, &run_state);
        fclose(file);
        if (fields == 2 && (run_state == 'Z' || run_state == 'X'))
            break;
        assert_true(i < 999);
        usleep(1000);
    }
    free(stat_path), free(pid_path), free(path), free(body);
}

static void memory_is_bounded(void **state)
{
    (void)state;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    if (getenv("WEIR_TEST_EMULATED")) {
        print_message("skipped: qemu-user has no bound on a program's memory\n");
        skip();
    }
    struct weir_job_build build = build_of(NULL);
    char *path = compile(
        "memory", "#include <stdlib.h>\nWEIR_JOB(x) { for (;;) { char *p = malloc(1 << 20); memset(p, 1, 1 << 20); } }",
        "-O0");
    build.path = path;
    build.memory_bytes = (int64_t)512 << 20;
    expect(&build, WEIR_ERR_USER_CODE,
           "crashed with SIGSEGV while building the graph (its memory is limited to 512 MiB)");
    free(path);
#endif
}

static void files_and_output_are_bounded(void **state)
{
    (void)state;
    char *path, *log = NULL;
    struct weir_job_build build = build_of(NULL);
    build.memory_bytes = (int64_t)512 << 20;
    path = compile("files",
                   "#include <fcntl.h>\n#include <unistd.h>\n" GOOD
                   "\n__attribute__((constructor)) static void open_many(void) {\n"
                   "int fds[100], n = 0; while (n < 100 && (fds[n] = open(\"/dev/null\", 0)) >= 0) n++;\n"
                   "if (n < 10 || n > 64) __builtin_trap(); while (n) close(fds[--n]); }",
                   "");
    build.path = path;
    build.log = &log;
    weir__job_graph__free_unpacked(build_good(&build), NULL);
    free(log), free(path);
    log = NULL;
    path = compile("talk",
                   "#include <stdio.h>\n" GOOD "\n__attribute__((constructor)) static void talk(void) {\n"
                   "for (int i = 0; i < 3000000; i++) puts(\"blah\"); }",
                   "");
    build.path = path;
    weir__job_graph__free_unpacked(build_good(&build), NULL);
    assert_int_equal(strlen(log), 65536);
    free(log), free(path);
    log = NULL;
    path = compile(
        "large",
        "#include <fcntl.h>\n#include <unistd.h>\nWEIR_JOB(x) { char b[65536] = {0}; int fd = open(\"/tmp\", O_TMPFILE | O_WRONLY, 0600);\n"
        "for (int i = 0; i < 10000; i++) if (write(fd, b, sizeof b) < 0) break; }",
        "-D_GNU_SOURCE -w");
    build.path = path;
    expect(&build, WEIR_ERR_USER_CODE, "the job wrote a large file");
    free(path), free(log);
}

/* --- Errors of the job, with all of them in one text */

static void errors_come_back_with_operator_and_line(void **state)
{
    char *path = compile(
        "wrong",
        "WEIR_JOB(wrong)\n{\n"
        "    struct weir_stream *s = weir_columns(weir_source(job, \"filesystem\", \"path\", \"x\", \"format\", \"json\", NULL), \"id BIGINT\");\n"
        "    weir_sink(weir_filter(s, \"ids > 3\"), \"print\", NULL);\n"
        "    weir_sink(weir_filter(s, \"id + 3\"), \"print\", NULL);\n"
        "    weir_sink(s, \"prnt\", NULL);\n"
        "    weir_arg(job, \"input\", \"\");\n}",
        "");
    const char *const arguments[] = {"--inptu", "x"};
    char *errors = NULL;
    uint8_t *bytes;
    size_t size;
    struct weir_error error;
    struct weir_job_build build = build_of(path);
    (void)state;
    build.arguments = arguments;
    build.argument_count = 2;
    build.errors = &errors;
    assert_int_equal(weir_job_build(&build, &bytes, &size, &error), WEIR_ERR_INVALID);
    static const char *const sentences[] = {"wrong.c:5: filter: condition, column 1: ", "wrong.c:6: filter 2: ",
                                            "wrong.c:7: prnt: ", "did you mean 'print'?",
                                            "no argument --inptu; did you mean --input?"};
    for (size_t i = 0; i < sizeof sentences / sizeof *sentences; i++) {
        if (!strstr(errors, sentences[i]))
            fail_msg("'%s' is not in:\n%s", sentences[i], errors);
        assert_non_null(strstr(error.message, sentences[i]));
    }
    free(errors), free(path);
}

/* A .proto source as text, a descriptor as base64; a path that is none is the operator's error. */
static void schema_files_travel_in_the_graph(void **state)
{
    (void)state;
    static const char source[] = "syntax = 'proto3'; message M { int64 id = 1; }";
    static const uint8_t set[] = {10, 20, 10,  1,   'f', '"', 15,  10, 1,   'M', 18, 10,
                                  10, 2,  'i', 'd', 24,  1,   ' ', 1,  '(', 3,   0};
    char *body = weir_format(
        "WEIR_JOB(files)\n{\n    const char *kind = weir_arg(job, \"kind\", \"schema\");\n"
        "    struct weir_stream *s = weir_columns(weir_source(job, \"kafka\", \"topic\", \"t\", "
        "\"properties.bootstrap.servers\", \"h:1\", \"format\",\n"
        "        \"protobuf\", weir_text(job, \"protobuf.%%s\", kind), weir_text(job, \"%s/%%s\", kind), NULL), "
        "\"id BIGINT\");\n    weir_sink(s, \"print\", NULL);\n}",
        directory);
    char *path = compile("files", body, "");
    free(write_file("schema", source, sizeof source - 1));
    free(write_file("descriptor", set, sizeof set - 1));
    static const char *const kinds[][2] = {{"schema", source},
                                           {"descriptor", "base64:ChQKAWYiDwoBTRIKCgJpZBgBIAEoAw=="}};
    for (int i = 0; i < 2; i++) {
        const char *const arguments[] = {"--kind", kinds[i][0]};
        struct weir_job_build build = build_of(path);
        build.arguments = arguments;
        build.argument_count = 2;
        char *key = weir_format("protobuf.%s", kinds[i][0]);
        Weir__JobGraph *graph = build_good(&build);
        int found = 0;
        for (size_t v = 0; v < graph->n_vertices; v++) {
            const char *value = weir_graph_option(graph->vertices[v], key);
            if (value) {
                assert_string_equal(value, kinds[i][1]);
                found++;
            }
        }
        assert_int_equal(found, 1);
        weir__job_graph__free_unpacked(graph, NULL);
        free(key);
    }
    char *file = path_of("schema");
    assert_int_equal(unlink(file), 0);
    struct weir_job_build build = build_of(path);
    expect(&build, WEIR_ERR_INVALID, "files.c:5: kafka: 'protobuf.schema': cannot read '");
    free(file), free(path), free(body);
}

static void a_binary_that_is_not_there_is_an_error(void **state)
{
    struct weir_job_build build = {.binary = "/nowhere/weir-taskmanager", .path = "x.so"};
    (void)state;
    /* qemu-user makes a fork of the vfork by which posix_spawn() hears of it: the child says so then. */
    expect(&build, WEIR_ERR_IO,
           getenv("WEIR_TEST_EMULATED") ? "cannot run /nowhere/weir-taskmanager"
                                        : "cannot start /nowhere/weir-taskmanager");
}

static int make_directory(void **state)
{
    (void)state;
    /* The sanitizer's own handlers would turn a crash of the child into an exit code. */
    setenv("ASAN_OPTIONS", "handle_segv=0:handle_abort=0:handle_sigbus=0:detect_leaks=0", 1);
    setenv("TSAN_OPTIONS", "handle_segv=0:handle_abort=0:handle_sigbus=0", 1);
    setenv("UBSAN_OPTIONS", "handle_segv=0:handle_abort=0", 1);
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    char *command = weir_format("rm -rf '%s'", directory);
    int result = system(command);
    free(command);
    return result;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "build-job") == 0)
        return weir_build_job_main(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_becomes_a_graph),
        cmocka_unit_test(help_lists_the_arguments),
        cmocka_unit_test(files_that_are_no_shared_object_are_refused),
        cmocka_unit_test(objects_that_are_cut_off_are_refused),
        cmocka_unit_test(damaged_headers_do_no_harm),
        cmocka_unit_test(another_architecture_is_refused),
        cmocka_unit_test(a_newer_abi_is_refused_before_its_code_runs),
        cmocka_unit_test(an_unresolved_symbol_is_named),
        cmocka_unit_test(a_crash_names_the_signal),
        cmocka_unit_test(a_loop_is_ended),
        cmocka_unit_test(what_it_leaves_behind_is_killed),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(files_and_output_are_bounded),
        cmocka_unit_test(errors_come_back_with_operator_and_line),
        cmocka_unit_test(schema_files_travel_in_the_graph),
        cmocka_unit_test(a_binary_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
