/* Output that waits in the store until its checkpoint is complete: objects of records, in their order (ops/output_log.h writes them). */
#ifndef WEIR_TASKMANAGER_STATE_OUTPUT_SEGMENTS_H
#define WEIR_TASKMANAGER_STATE_OUTPUT_SEGMENTS_H

#include <stdint.h>

struct weir_output_segment {
    char *object;
    int64_t size, records;
    uint32_t crc32c;
};
struct weir_output_segments {
    struct weir_output_segment *list;
    int count;
    char *sink;        /* uid of its operator; NULL: there are none */
    uint64_t since;    /* the last checkpoint whose barrier came before the records: every later one publishes them */
    char *transaction; /* the connector's own, of the open transaction that the records are in, too; NULL: none */
};
/* `to` is empty. */
void weir_output_segments_copy(struct weir_output_segments *to, const struct weir_output_segments *from);
void weir_output_segments_fini(struct weir_output_segments *segments);

#endif
