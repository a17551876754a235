/* The supervisor's end of an executor's control line: user code runs in the other process, so that anything may come. Input: a
 * number of bytes to write at a time, then the bytes. What is taken is a Control each; after rubbish the line is given up.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "taskmanager/io/executor_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    size_t piece = 1 + (size_t)fuzz_number(&in, 1) * 16;
    int pair[2];
    fuzz_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    struct weir_executor_line line;
    weir_executor_line_init(&line, pair[0]);
    bool broken = false, open = true;
    while (in.left > 0 && open && !broken) {
        struct fuzz_input part = fuzz_take(&in, piece);
        fuzz_check(send(pair[1], part.at, part.left, MSG_NOSIGNAL) == (ssize_t)part.left);
        open = weir_executor_line_fill(&line);
        for (Weir__Control *control; !broken && (control = weir_executor_line_next(&line, &broken));) {
            fuzz_check(weir_executor_line_send(&line, control));
            uint8_t sink[4096];
            while (recv(pair[1], sink, sizeof sink, MSG_DONTWAIT) > 0)
                ;
            weir__control__free_unpacked(control, NULL);
        }
    }
    close(pair[1]);
    if (!broken)
        fuzz_check(!weir_executor_line_fill(&line));
    weir_executor_line_fini(&line);
    return 0;
}

void fuzz_seeds(fuzz_put *put)
{
    uint8_t bytes[600] = {3};
    Weir__Control control;
    Weir__Heartbeat beat;
    Weir__ProcessMetrics process;
    weir__control__init(&control);
    weir__heartbeat__init(&beat);
    weir__process_metrics__init(&process);
    control.version = 1;
    control.body_case = WEIR__CONTROL__BODY_HEARTBEAT;
    control.heartbeat = &beat;
    beat.process = &process;
    process.rss_bytes = 12345678;
    size_t size = weir__control__get_packed_size(&control), at = 1;
    for (int i = 0; i < 3; i++) {
        bytes[at] = (uint8_t)size;
        at += 4;
        beat.sequence = (uint64_t)i;
        at += weir__control__pack(&control, bytes + at);
    }
    put("heartbeats", bytes, at);
    bytes[3] = bytes[4] = 0xff;
    put("too-long", bytes, at);
}
