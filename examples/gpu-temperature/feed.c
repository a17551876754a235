#define _GNU_SOURCE
#include "feed.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READERS_MAX 16
#define ASK_MS 500 /* so long a reader may ask before lines are sent */
#define STUCK_MS 30000
#define CHUNK_SIZE 65536
#define REQUEST "weir-replay "

struct reader {
    int fd;
    int64_t position;    /* of the next byte of the log */
    int64_t deadline_ms; /* ASKING: lines follow then. Later: cut off then, unless it takes something */
    bool asking;         /* may ask before lines come */
    bool line_open;      /* its last byte was not a newline */
    bool wants;          /* the request is whole, its answer is due at the next line's beginning */
    bool replays;        /* has asked, and been answered */
    bool mute;           /* it will say nothing more; it may read on */
    bool closing;        /* nothing follows `control` */
    char request[128];
    size_t request_size;
    char control[256]; /* a line of ours that goes before the log's next byte */
    size_t control_size;
};

struct feed {
    int listener, log;
    char id[17];
    int64_t first, end; /* of the log */
    int64_t size_max;
    struct reader readers[READERS_MAX];
    int count;
    bool ended, was_read, was_replayed;
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * (int64_t)1000 + now.tv_nsec / 1000000;
}

/* --- Open, close */

static int listen_on(const char *address)
{
    char host[256], port[16];
    if (sscanf(address, "tcp://%255[^:]:%15[0-9]", host, port) != 2) {
        fprintf(stderr, "publisher: '%s' is not tcp://HOST:PORT\n", address);
        return -1;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    int failed = getaddrinfo(host, port, &hints, &found), on = 1;
    int fd = failed ? -1 : socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 8) != 0) {
        fprintf(stderr, "publisher: cannot listen on %s: %s\n", address,
                failed ? gai_strerror(failed) : strerror(errno));
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    if (found)
        freeaddrinfo(found);
    return fd;
}

static int open_log(const char *name)
{
    const char *dir = getenv("TMPDIR");
    if (name)
        return open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int fd = open(dir && *dir ? dir : "/tmp", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    return fd >= 0 ? fd : memfd_create("published", MFD_CLOEXEC); /* a read-only root */
}

struct feed *feed_open(const char *address, const char *log, int64_t size_max)
{
    struct feed *feed = calloc(1, sizeof *feed);
    uint64_t random = 0;
    if (!feed || getrandom(&random, sizeof random, 0) != sizeof random) {
        fprintf(stderr, "publisher: %s\n", strerror(errno));
        free(feed);
        return NULL;
    }
    snprintf(feed->id, sizeof feed->id, "%016" PRIx64, random);
    feed->size_max = size_max;
    feed->log = -1;
    if ((feed->listener = listen_on(address)) >= 0 && (feed->log = open_log(log)) < 0)
        fprintf(stderr, "publisher: cannot write %s: %s\n", log ? log : "the log", strerror(errno));
    if (feed->log >= 0)
        return feed;
    if (feed->listener >= 0)
        close(feed->listener);
    free(feed);
    return NULL;
}

static void drop(struct feed *feed, int at)
{
    close(feed->readers[at].fd);
    feed->readers[at] = feed->readers[--feed->count];
}

bool feed_close(struct feed *feed)
{
    if (!feed)
        return true;
    while (feed->count > 0)
        drop(feed, 0);
    close(feed->listener);
    bool ok = close(feed->log) == 0;
    free(feed);
    return ok;
}

/* --- The log */

static int64_t slowest(const struct feed *feed)
{
    int64_t least = feed->end;
    for (int i = 0; i < feed->count; i++)
        if (feed->readers[i].position < least)
            least = feed->readers[i].position;
    return least;
}

bool feed_full(const struct feed *feed)
{
    return feed->size_max > 0 && feed->end - slowest(feed) >= feed->size_max;
}

/* A quarter of the log goes, to a line's end: holes are punched where the file system can. */
static void forget(struct feed *feed)
{
    int64_t wanted = feed->end - feed->size_max * 3 / 4, least = slowest(feed);
    char bytes[4096];
    if (wanted > least)
        wanted = least;
    if (wanted <= feed->first)
        return;
    ssize_t got = pread(feed->log, bytes, sizeof bytes, wanted - 1);
    const char *newline = got > 0 ? memchr(bytes, '\n', (size_t)got) : NULL;
    if (!newline || wanted + (newline - bytes) > least)
        return;
    feed->first = wanted + (newline - bytes);
    (void)!fallocate(feed->log, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, feed->first & ~(int64_t)4095);
}

bool feed_append(struct feed *feed, const char *line, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(feed->log, line + done, size - done, feed->end + (int64_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            fprintf(stderr, "publisher: cannot write the log: %s\n", strerror(errno));
            return false;
        }
        done += (size_t)n;
    }
    feed->end += (int64_t)size;
    if (feed->size_max > 0 && feed->end - feed->first > feed->size_max)
        forget(feed);
    return true;
}

/* --- Readers */

static void accept_reader(struct feed *feed)
{
    int fd = accept4(feed->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (feed->count == READERS_MAX) {
        fprintf(stderr, "publisher: there are %d readers already: another one was refused\n", READERS_MAX);
        close(fd);
        return;
    }
    (void)send(fd, " ", 1, MSG_OOB | MSG_NOSIGNAL);
    feed->readers[feed->count++] =
        (struct reader){.fd = fd, .position = feed->end, .asking = true, .deadline_ms = now_ms() + ASK_MS};
    feed->was_read = true;
}

static void answer(struct feed *feed, struct reader *reader)
{
    int64_t offset = feed->first;
    char log[40] = "";
    const char *asked = reader->request + strlen(REQUEST);
    reader->wants = reader->asking = false;
    reader->replays = feed->was_replayed = true;
    int size = 0;
    if (strcmp(asked, "earliest") != 0 && sscanf(asked, "%" SCNd64 " %39s", &offset, log) != 2)
        size = snprintf(reader->control, sizeof reader->control, "#error '%.80s' is no offset\n", reader->request);
    else if (*log && strcmp(log, feed->id) != 0)
        size = snprintf(reader->control, sizeof reader->control,
                        "#error log %s is gone with the publisher that kept it: this one's is %s\n", log, feed->id);
    else if (offset < feed->first || offset > feed->end)
        size = snprintf(reader->control, sizeof reader->control,
                        "#error offset %" PRId64 " is gone: the log holds %" PRId64 " to %" PRId64 "\n", offset,
                        feed->first, feed->end);
    reader->closing = size > 0;
    if (!reader->closing) {
        reader->position = offset;
        size = snprintf(reader->control, sizeof reader->control, "#offset %" PRId64 " %s\n", offset, feed->id);
    }
    reader->control_size = (size_t)size;
    reader->deadline_ms = now_ms() + STUCK_MS;
}

/* False: the reader has gone. A plain one may send what it likes: it is not looked at. */
static bool hear(struct reader *reader)
{
    char bytes[256];
    ssize_t n = recv(reader->fd, bytes, sizeof bytes, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    for (ssize_t i = 0; i < n && !reader->wants; i++) {
        if (reader->request_size + 1 == sizeof reader->request)
            break;
        if (bytes[i] != '\n') {
            reader->request[reader->request_size++] = bytes[i];
            continue;
        }
        reader->request[reader->request_size] = 0;
        reader->request_size = 0;
        reader->wants = strncmp(reader->request, REQUEST, strlen(REQUEST)) == 0;
    }
    if (n == 0) {
        reader->mute = true;
        reader->asking &= reader->wants;
    }
    return true;
}

/* True: all was taken. */
static bool put(struct reader *reader, const char *bytes, size_t size, size_t *sent, bool *gone)
{
    ssize_t n = send(reader->fd, bytes, size, MSG_NOSIGNAL);
    *gone = n < 0 && errno != EAGAIN && errno != EINTR;
    *sent = n > 0 ? (size_t)n : 0;
    if (n > 0)
        reader->deadline_ms = now_ms() + STUCK_MS;
    return *sent == size;
}

/* False: the reader has gone, or has all that it gets. */
static bool feed_reader(struct feed *feed, struct reader *reader)
{
    char bytes[CHUNK_SIZE];
    size_t sent;
    bool gone = false;
    for (int rounds = 0; rounds < 16; rounds++) { /* then the others */
        if (reader->wants && !reader->line_open)
            answer(feed, reader);
        if (reader->control_size > 0) {
            bool all = put(reader, reader->control, reader->control_size, &sent, &gone);
            reader->control_size -= sent;
            memmove(reader->control, reader->control + sent, reader->control_size);
            if (!all)
                return !gone;
        }
        if (reader->closing)
            return false;
        if (reader->asking)
            return true;
        int64_t left = feed->end - reader->position;
        if (left == 0 && feed->ended) {
            reader->closing = true;
            if (reader->replays)
                reader->control_size = (size_t)snprintf(reader->control, sizeof reader->control,
                                                        "#end %" PRId64 " %s\n", reader->position, feed->id);
            continue;
        }
        ssize_t got = pread(feed->log, bytes, left < CHUNK_SIZE ? (size_t)left : CHUNK_SIZE, reader->position);
        if (got <= 0)
            return true;
        const char *newline = reader->wants ? memchr(bytes, '\n', (size_t)got) : NULL;
        bool all = put(reader, bytes, newline ? (size_t)(newline - bytes) + 1 : (size_t)got, &sent, &gone);
        reader->position += (int64_t)sent;
        if (sent > 0)
            reader->line_open = bytes[sent - 1] != '\n';
        if (!all)
            return !gone;
    }
    return true;
}

void feed_serve(struct feed *feed, int timeout_ms)
{
    struct pollfd fds[READERS_MAX + 1];
    for (int i = 0; i < feed->count; i++) {
        const struct reader *r = &feed->readers[i];
        bool sends = r->control_size > 0 || (!r->asking && (r->wants || r->position < feed->end || feed->ended));
        fds[i] = (struct pollfd){.fd = r->fd, .events = (short)((r->mute ? 0 : POLLIN) | (sends ? POLLOUT : 0))};
    }
    int count = feed->count;
    fds[count] = (struct pollfd){.fd = feed->listener, .events = POLLIN};
    if (poll(fds, (nfds_t)count + 1, timeout_ms) < 0)
        return;
    int64_t now = now_ms();
    for (int i = count - 1; i >= 0; i--) {
        struct reader *reader = &feed->readers[i];
        bool here = !(fds[i].revents & (POLLIN | POLLERR | POLLHUP)) || hear(reader);
        if (reader->asking && now >= reader->deadline_ms) {
            reader->asking = false;
            reader->deadline_ms = now + STUCK_MS;
        }
        if (!here || !feed_reader(feed, reader) || (feed_full(feed) && now >= reader->deadline_ms))
            drop(feed, i); /* the last one takes its place, which has been looked at */
    }
    if (fds[count].revents & POLLIN)
        accept_reader(feed);
}

void feed_end(struct feed *feed)
{
    feed->ended = true;
}

bool feed_was_read(const struct feed *feed)
{
    return feed->was_read;
}

bool feed_was_replayed(const struct feed *feed)
{
    return feed->was_replayed;
}

int feed_readers(const struct feed *feed)
{
    return feed->count;
}
