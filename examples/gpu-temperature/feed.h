/* The publisher's TCP side: a log of all lines that were published, and the readers that get it, each at its own pace.
 *
 * A reader that says nothing gets what is published from its connection on (after ASK_MS: so long it may ask). One that asks gets the log
 * from an offset, so that a source which failed goes on where its checkpoint says (the connector `socket` with its option `replay`):
 *
 *     server   one urgent byte, a blank (plain readers do not see it): it keeps a log
 *     reader   weir-replay earliest            or, later     weir-replay OFFSET LOG
 *     server   #offset OFFSET LOG              then the log's bytes from there, as they come
 *              #end OFFSET LOG                 at the very end, in place of a next line; then it closes
 *              #error WHY                      instead of both: the offset is not to be had; then it closes
 *
 * Each line ends with a newline. OFFSET counts the log's bytes; LOG names the log, so that another publisher's is not taken for it.
 *
 * The log is a file. With a bound its oldest lines are given up, but not before the readers that are connected have them: publishing waits
 * for those; one that has taken nothing for STUCK_MS is cut off. One thread. */
#ifndef FEED_H
#define FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct feed;

/* Listens on tcp://HOST:PORT. log: the file's name, NULL: an unnamed one. size_max: 0: no bound. NULL: it cannot; standard error says why. */
struct feed *feed_open(const char *address, const char *log, int64_t size_max);
/* Accepts, answers and sends; waits up to timeout_ms when there is nothing to do. */
void feed_serve(struct feed *feed, int timeout_ms);
bool feed_full(const struct feed *feed); /* append() would pass the bound: serve first */
/* False: the line cannot be written; standard error says why. */
bool feed_append(struct feed *feed, const char *line, size_t size);
void feed_end(struct feed *feed);                /* no line follows: readers are told so, and closed */
bool feed_was_read(const struct feed *feed);     /* somebody has connected */
bool feed_was_replayed(const struct feed *feed); /* somebody has asked for an offset */
int feed_readers(const struct feed *feed);       /* that are connected */
bool feed_close(struct feed *feed);              /* NULL is allowed. False: the log is not whole */

#endif
