/* Fault points over the control line (tests only): arms go to every TaskManager, also to one that registers later; their counts come with
 * their heartbeats. Processes of this host share the table of base/fault.h anyway. Any thread; what is sent is sent by the loop. */
#ifndef WEIR_JOBMANAGER_IO_FAULTS_H
#define WEIR_JOBMANAGER_IO_FAULTS_H

#include "base/mem.h"
#include "jobmanager/rest/cluster_view.h"
#include "net/control_line.h"

struct weir_jm_faults;
struct weir_jm_faults *weir_jm_faults_new(void);
void weir_jm_faults_free(struct weir_jm_faults *faults);

weir_err weir_jm_faults_arm(struct weir_jm_faults *faults, const char *point, const char *action,
                            struct weir_error *error);
void weir_jm_faults_list(struct weir_jm_faults *faults, struct weir_arena *arena, const struct weir_view_fault **out,
                         int *count);

/* --- The loop */
void weir_jm_faults_event(struct weir_jm_faults *faults, const struct weir_line_event *event); /* every one */
bool weir_jm_faults_send(struct weir_jm_faults *faults, struct weir_line *line); /* true: something was sent */
/* The points that a message passes on its way: in, before and after the core has it; out, before and after it is sent. */
void weir_jm_faults_at(const Weir__Control *control, bool in, bool after);

#endif
