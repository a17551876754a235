/* Fault points over the control line, the TaskManager's side (tests only): what the JobManager arms, what this host's points counted, and the
 * points that messages pass here. The supervisor's thread. */
#ifndef WEIR_TASKMANAGER_IO_FAULTS_H
#define WEIR_TASKMANAGER_IO_FAULTS_H

#include "net/control_line.h"

void weir_tm_faults_received(
    const Weir__Control *control);                      /* from the JobManager or an executor, before the core has it */
void weir_tm_faults_sent(const Weir__Control *control); /* to the JobManager */
void weir_tm_faults_report(struct weir_line *line);     /* NULL: there is none */

#endif
