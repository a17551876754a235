/* What a barrier has fixed of the operators' states is copied here, in slices between batches, while the chain goes on. Behind the last slice
 * of the last one the chain may end. Owning thread: the task's worker. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "state/capture.h"
#include "state/snapshot.h"
#include "task/chain_int.h"

/* A slice of a call, which has about 1 ms, then a pause as long: who has used up its share of a core waits for it when the next rows come. */
#define SLICE_NS 250000
#define WRITER_NS 1000000 /* until one looks again whether who writes has caught up */

void weir_chain_adopt_captures(struct weir_chain *chain, const struct weir_snapshot *snapshot)
{
    for (const struct weir_snapshot_capture *entry = snapshot->captures; entry; entry = entry->next) {
        chain->captures =
            weir_realloc(chain->captures, (size_t)(chain->capture_count + 1) * sizeof(struct weir_capture *));
        chain->captures[chain->capture_count++] = weir_capture_ref(entry->capture);
    }
}

bool weir_chain_step_captures(struct weir_chain *chain)
{
    if (chain->capture_count == 0 || chain->now_ns < chain->capture_ns)
        return false;
    int kept = 0;
    bool moved = false;
    for (int i = 0; i < chain->capture_count; i++) {
        struct weir_capture *capture = chain->captures[i];
        if (!moved && weir_capture_step(capture, SLICE_NS, &moved)) {
            weir_capture_unref(capture);
            continue;
        }
        chain->captures[kept++] = capture;
    }
    chain->capture_count = kept;
    chain->capture_ns = weir_clock_mono_ns() + (moved ? SLICE_NS : WRITER_NS);
    return moved;
}

void weir_chain_finish_captures(struct weir_chain *chain)
{
    for (int i = 0; i < chain->capture_count; i++)
        (void)weir_capture_step(chain->captures[i], 0, NULL);
    weir_chain_free_captures(chain);
}

void weir_chain_free_captures(struct weir_chain *chain)
{
    for (int i = 0; i < chain->capture_count; i++)
        weir_capture_unref(chain->captures[i]);
    free(chain->captures);
    chain->captures = NULL;
    chain->capture_count = 0;
}
