/* Events a second over the last minute, as Flink's meters have them: the first minute's mean counts what was not yet as nothing. */
#ifndef WEIR_BASE_METER_H
#define WEIR_BASE_METER_H

#include <stdint.h>

#define WEIR_METER_SPAN_MS 60000
#define WEIR_METER_STEP_MS 5000
#define WEIR_METER_LOOKS (WEIR_METER_SPAN_MS / WEIR_METER_STEP_MS + 1)

struct weir_meter { /* all zero: no event yet */
    struct {
        int64_t at_ms;
        uint64_t count;
    } looks[WEIR_METER_LOOKS]; /* a ring, WEIR_METER_STEP_MS or more apart */
    int newest, look_count;
};

/* At `now_ms` there have been `count` events, which only rises. Thousandths of an event a second. */
int64_t weir_meter_look(struct weir_meter *meter, int64_t now_ms, uint64_t count);

#endif
