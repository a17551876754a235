#include "taskmanager/io/executor_line.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/unpack.h"

#define MESSAGE_SIZE_MAX ((size_t)32 << 20)
#define READ_SIZE ((size_t)64 << 10)

void weir_executor_line_init(struct weir_executor_line *line, int fd)
{
    line->fd = fd;
    line->out_sent = 0;
    weir_buf_init(&line->in, MESSAGE_SIZE_MAX + READ_SIZE + 4);
    weir_buf_init(&line->out, WEIR_EXECUTOR_LINE_QUEUE_MAX);
}

static void close_line(struct weir_executor_line *line)
{
    if (line->fd >= 0)
        close(line->fd);
    line->fd = -1;
}

void weir_executor_line_fini(struct weir_executor_line *line)
{
    close_line(line);
    weir_buf_fini(&line->in);
    weir_buf_fini(&line->out);
}

bool weir_executor_line_wants_write(const struct weir_executor_line *line)
{
    return line->fd >= 0 && line->out.size > line->out_sent;
}

bool weir_executor_line_send(struct weir_executor_line *line, const Weir__Control *control)
{
    if (line->fd < 0)
        return false;
    size_t size = weir__control__get_packed_size(control);
    uint8_t head[4] = {(uint8_t)size, (uint8_t)(size >> 8), (uint8_t)(size >> 16), (uint8_t)(size >> 24)};
    if (size > MESSAGE_SIZE_MAX || !weir_buf_reserve(&line->out, size + sizeof head) ||
        !weir_buf_append(&line->out, head, sizeof head)) {
        close_line(line);
        return false;
    }
    weir__control__pack(control, line->out.data + line->out.size);
    line->out.size += size;
    return weir_executor_line_flush(line);
}

bool weir_executor_line_flush(struct weir_executor_line *line)
{
    while (weir_executor_line_wants_write(line)) {
        ssize_t sent = send(line->fd, line->out.data + line->out_sent, line->out.size - line->out_sent,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return true;
        if (sent < 0) {
            close_line(line);
            return false;
        }
        line->out_sent += (size_t)sent;
    }
    weir_buf_clear(&line->out);
    line->out_sent = 0;
    return line->fd >= 0;
}

bool weir_executor_line_fill(struct weir_executor_line *line)
{
    while (line->fd >= 0) {
        if (!weir_buf_reserve(&line->in, READ_SIZE))
            return true; /* a whole message is waiting to be taken */
        ssize_t got = recv(line->fd, line->in.data + line->in.size, READ_SIZE, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return true;
        if (got <= 0) {
            close_line(line);
            return false;
        }
        line->in.size += (size_t)got;
        if ((size_t)got < READ_SIZE)
            return true;
    }
    return false;
}

Weir__Control *weir_executor_line_next(struct weir_executor_line *line, bool *broken)
{
    *broken = false;
    const uint8_t *data = line->in.data;
    if (line->in.size < 4)
        return NULL;
    size_t size = (size_t)data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16 | (size_t)data[3] << 24;
    if (size > MESSAGE_SIZE_MAX) {
        *broken = true;
        return NULL;
    }
    if (line->in.size < 4 + size)
        return NULL;
    Weir__Control *control = (Weir__Control *)weir_unpack(&weir__control__descriptor, data + 4, size, NULL);
    memmove(line->in.data, line->in.data + 4 + size, line->in.size - 4 - size);
    line->in.size -= 4 + size;
    *broken = control == NULL;
    return control;
}
