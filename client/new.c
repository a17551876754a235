/* new: a job's directory from a template. The templates, client/templates/, are in the program: read at build (mk/binaries.mk). */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "client_int.h"

#define NAME_SIZE_MAX 64

/* The bytes of a file, between two symbols. */
#define FILE_BYTES(symbol, path) \
    __asm__(".section .rodata\n" #symbol "_start:\n.incbin \"client/templates/" path "\"\n" #symbol "_end:\n" \
            ".byte 0\n.previous\n"); \
    extern const char symbol##_start[] __attribute__((visibility("hidden"))); \
    extern const char symbol##_end[] __attribute__((visibility("hidden")))

FILE_BYTES(weir_template_makefile, "common/Makefile");
FILE_BYTES(weir_template_test, "common/test.sh");
FILE_BYTES(weir_template_readme, "common/README.md");
FILE_BYTES(weir_template_gitignore, "common/gitignore");
FILE_BYTES(weir_template_window_job, "window/job.c");
FILE_BYTES(weir_template_window_input, "window/input.jsonl");
FILE_BYTES(weir_template_window_expected, "window/expected.jsonl");
FILE_BYTES(weir_template_function_job, "function/job.c");
FILE_BYTES(weir_template_function_input, "function/input.jsonl");
FILE_BYTES(weir_template_function_expected, "function/expected.jsonl");
FILE_BYTES(weir_template_state_job, "state/job.c");
FILE_BYTES(weir_template_state_input, "state/input.jsonl");
FILE_BYTES(weir_template_state_expected, "state/expected.jsonl");

struct template_file {
    const char *name;
    const char *start, *end;
    int mode;
};

#define COMMON_FILES \
    {"Makefile", weir_template_makefile_start, weir_template_makefile_end, 0644}, \
        {"test.sh", weir_template_test_start, weir_template_test_end, 0755}, \
        {"README.md", weir_template_readme_start, weir_template_readme_end, 0644}, \
    { \
        ".gitignore", weir_template_gitignore_start, weir_template_gitignore_end, 0644 \
    }
#define FILE_COUNT 7

static const struct template
{
    const char *name;
    const char *result; /* the folder below the output that has the job's results */
    struct template_file files[FILE_COUNT];
}
templates[] = {
    {"window",
     "windows",
     {{"job.c", weir_template_window_job_start, weir_template_window_job_end, 0644},
      {"input.jsonl", weir_template_window_input_start, weir_template_window_input_end, 0644},
      {"expected.jsonl", weir_template_window_expected_start, weir_template_window_expected_end, 0644},
      COMMON_FILES}},
    {"function",
     "words",
     {{"job.c", weir_template_function_job_start, weir_template_function_job_end, 0644},
      {"input.jsonl", weir_template_function_input_start, weir_template_function_input_end, 0644},
      {"expected.jsonl", weir_template_function_expected_start, weir_template_function_expected_end, 0644},
      COMMON_FILES}},
    {"state",
     "orders",
     {{"job.c", weir_template_state_job_start, weir_template_state_job_end, 0644},
      {"input.jsonl", weir_template_state_input_start, weir_template_state_input_end, 0644},
      {"expected.jsonl", weir_template_state_expected_start, weir_template_state_expected_end, 0644},
      COMMON_FILES}},
};
#define TEMPLATE_COUNT (sizeof templates / sizeof templates[0])

static bool is_good_name(const char *name)
{
    if (!isalpha((unsigned char)name[0]) || strlen(name) > NAME_SIZE_MAX)
        return false;
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '_')
            return false;
    return true;
}

/* The file's text with @NAME@, TEMPLATE_IDENT (which clang-format reads as a name) and @RESULT@ replaced. */
static void expand(const struct template *template, const struct template_file *file, const char *name,
                   struct weir_buf *out)
{
    char ident[NAME_SIZE_MAX + 1];
    snprintf(ident, sizeof ident, "%s", name);
    for (char *c = ident; *c; c++)
        *c = *c == '-' ? '_' : *c;
    const char *const words[] = {"@NAME@", "TEMPLATE_IDENT", "@RESULT@"}, *const values[] = {name, ident,
                                                                                             template->result};
    bool ok = true;
    for (const char *at = file->start; at < file->end && ok;) {
        int word = -1;
        for (int i = 0; i < 3; i++)
            if ((size_t)(file->end - at) >= strlen(words[i]) && memcmp(at, words[i], strlen(words[i])) == 0)
                word = i;
        ok = word >= 0 ? weir_buf_puts(out, values[word]) : weir_buf_append(out, at, 1);
        at += word >= 0 ? strlen(words[word]) : 1;
    }
}

static int write_file(struct weir_client *client, const char *path, int mode, const struct weir_buf *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    size_t done = 0;
    while (fd >= 0 && done < text->size) {
        ssize_t written = write(fd, text->data + done, text->size - done);
        if (written < 0 && errno != EINTR)
            break;
        done += written > 0 ? (size_t)written : 0;
    }
    bool ok = fd >= 0 && done == text->size;
    int why = errno;
    if (fd >= 0 && close(fd) != 0 && ok) {
        why = errno;
        ok = false;
    }
    return ok ? EXIT_DONE : weir_client_fail(client, EXIT_FAILED, NULL, "cannot write %s: %s", path, strerror(why));
}

/* What was made of a job that could not be finished goes again. */
static void remove_files(const char *directory, const struct template *template)
{
    for (int i = 0; i < FILE_COUNT; i++) {
        char *path = weir_format("%s/%s", directory, template->files[i].name);
        unlink(path);
        free(path);
    }
    rmdir(directory);
}

static int make(struct weir_client *client, const char *directory, const char *name, const struct template *template)
{
    int exit_code = EXIT_DONE;
    if (mkdir(directory, 0777) != 0)
        return weir_client_fail(client, EXIT_FAILED, NULL, "cannot make the directory %s: %s", directory,
                                errno == EEXIST ? "it is there already" : strerror(errno));
    for (int i = 0; i < FILE_COUNT && exit_code == EXIT_DONE; i++) {
        char *path = weir_format("%s/%s", directory, template->files[i].name);
        struct weir_buf text;
        weir_buf_init(&text, (size_t)1 << 20);
        expand(template, &template->files[i], name, &text);
        exit_code = write_file(client, path, template->files[i].mode, &text);
        weir_buf_fini(&text);
        free(path);
    }
    if (exit_code != EXIT_DONE)
        remove_files(directory, template);
    return exit_code;
}

static void print_made(const struct weir_client *client, const char *directory, const struct template *template)
{
    if (!client->json) {
        printf("made %s from the template %s. Next: cd %s && make && make test\n", directory, template->name,
               directory);
        return;
    }
    json_t *files = json_array();
    for (int i = 0; i < FILE_COUNT; i++)
        json_array_append_new(files, json_string(template->files[i].name));
    json_t *made = json_pack("{s:o, s:s, s:o}", "directory", weir_client_string(directory), "template", template->name,
                             "files", files);
    weir_client_print_json(made);
    json_decref(made);
}

int weir_command_new(struct weir_client *client)
{
    const struct template *template = NULL;
    const char *wanted = client->template ? client->template : templates[0].name, *names[TEMPLATE_COUNT];
    char nearest[160];
    for (size_t i = 0; i < TEMPLATE_COUNT; i++) {
        names[i] = templates[i].name;
        if (strcmp(templates[i].name, wanted) == 0)
            template = &templates[i];
    }
    if (!template)
        return weir_client_fail(client, EXIT_USAGE, NULL, "there is no template '%.200s'%s; see weir help new", wanted,
                                weir_client_nearest(nearest, wanted, names, TEMPLATE_COUNT));
    char *directory = weir_strdup(client->arguments[0]);
    size_t size = strlen(directory);
    while (size > 1 && directory[size - 1] == '/')
        directory[--size] = 0;
    const char *slash = strrchr(directory, '/'), *name = slash ? slash + 1 : directory;
    int exit_code;
    if (is_good_name(name))
        exit_code = make(client, directory, name, template);
    else
        exit_code = weir_client_fail(
            client, EXIT_USAGE, NULL,
            "'%.200s' cannot be a job's name: letters, digits, - and _, beginning with a letter, at most %d", name,
            NAME_SIZE_MAX);
    if (exit_code == EXIT_DONE)
        print_made(client, directory, template);
    free(directory);
    return exit_code;
}
