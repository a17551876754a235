/* What is wrong with a graph: a list, so that all of it is reported at once. Bounded; one thread.
 *
 * Filled by the SDK's builder (common/sdk) and by weir_graph_check(); printed one a line, "job.c:42: hot: condition, column 15: ...".
 */
#ifndef WEIR_GRAPH_GRAPH_ERRORS_H
#define WEIR_GRAPH_GRAPH_ERRORS_H

#include <stdint.h>

#include "base/mem.h"

#define WEIR_GRAPH_ERRORS_MAX 50

struct weir_graph_error {
    uint32_t vertex_id;  /* 0: of the job as a whole */
    char *operator_name; /* "" when vertex_id is 0 */
    char *location;      /* "job.c:42", may be "" */
    char *message;       /* one sentence */
};
struct weir_graph_errors { /* zero-initialise */
    int count;
    int dropped; /* beyond the maximum */
    struct weir_graph_error items[WEIR_GRAPH_ERRORS_MAX];
};

void weir_graph_errors_add(struct weir_graph_errors *errors, uint32_t vertex_id, const char *operator_name,
                           const char *location, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Has this vertex one? */
bool weir_graph_errors_has(const struct weir_graph_errors *errors, uint32_t vertex_id);
/* All of them, in order of their lines as far as these are in one file; false: out is full. */
bool weir_graph_errors_print(struct weir_graph_errors *errors, struct weir_buf *out)
    __attribute__((warn_unused_result));
void weir_graph_errors_fini(struct weir_graph_errors *errors);

#endif
