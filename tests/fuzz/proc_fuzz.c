/* What a running system writes for others to read: /proc/stat, meminfo, diskstats, net/dev and loadavg (connector host), and the records of
 * executors that an earlier boot left. Input: the five files and one record, each ended by a zero byte.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "connectors/host/host.c"
#include "fuzz/fuzz.h"
#include "taskmanager/io/process.h"

static char directory[64];
static const char *const names[] = {"stat",      "meminfo", "loadavg",
                                    "diskstats", "net/dev", "executors/0123456789abcdef0123456789abcdef"};

static void remove_files(void)
{
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0)
        perror(directory);
}

static void make_directory(void)
{
    char path[128];
    snprintf(directory, sizeof directory, "/tmp/weir-proc-fuzz-XXXXXX");
    fuzz_check(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/net", directory);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/executors", directory);
    mkdir(path, 0700);
    atexit(remove_files);
}

static void write_files(struct fuzz_input in)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct fuzz_input text = fuzz_until(&in, 0);
        char path[128];
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
        if (text.left == 0)
            continue;
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        fuzz_check(fd >= 0 && write(fd, text.at, text.left) == (ssize_t)text.left);
        close(fd);
    }
}

static void read_host(struct weir_schema *schema)
{
    struct weir_reader reader = {.schema = schema, .proc = directory, .host = "h", .last_ms = 1000};
    struct weir_error error;
    struct totals now;
    weir_buf_init(&reader.text, FILE_SIZE_MAX);
    if (!read_totals(&reader, &now, &error)) {
        struct weir_batch *batch = weir_batch_new(schema, METRICS_MAX);
        add_rows(&reader, batch, &now, 2000);
        reader.last = now;
        add_rows(&reader, batch, &now, 2000);
        fuzz_check(batch->row_count > 0 && batch->row_count <= METRICS_MAX);
        weir_batch_unref(batch);
    }
    weir_buf_fini(&reader.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct weir_schema *schema;
    if (!schema) {
        make_directory();
        fuzz_check(!source_schema(NULL, 0, NULL, &schema, NULL));
    }
    write_files((struct fuzz_input){data, size});
    read_host(schema);
    struct weir_tm_orphan orphans[4];
    int count = weir_process_orphans(directory, orphans, 4);
    fuzz_check(count >= 0 && count <= 1);
    return 0;
}
