#include "base/meter.h"

int64_t weir_meter_look(struct weir_meter *meter, int64_t now_ms, uint64_t count)
{
    int64_t span_ms = WEIR_METER_SPAN_MS;
    uint64_t before = 0;
    for (int i = 0; i < meter->look_count; i++) { /* the newest that is old enough */
        int at = (meter->newest + WEIR_METER_LOOKS - i) % WEIR_METER_LOOKS;
        if (now_ms - meter->looks[at].at_ms < WEIR_METER_SPAN_MS)
            continue;
        span_ms = now_ms - meter->looks[at].at_ms;
        before = meter->looks[at].count;
        break;
    }
    if (meter->look_count == 0 || now_ms - meter->looks[meter->newest].at_ms >= WEIR_METER_STEP_MS) {
        meter->newest = (meter->newest + 1) % WEIR_METER_LOOKS;
        meter->looks[meter->newest].at_ms = now_ms;
        meter->looks[meter->newest].count = count;
        meter->look_count += meter->look_count < WEIR_METER_LOOKS;
    }
    return (int64_t)((count - before) * 1000000 / (uint64_t)span_ms);
}
