/* What REST sees of a running JobManager: cluster_view.h over the core, copied under its lock. */
#ifndef WEIR_JOBMANAGER_IO_VIEW_H
#define WEIR_JOBMANAGER_IO_VIEW_H

#include "jobmanager/io/jobmanager.h"
#include "jobmanager/rest/cluster_view.h"

struct weir_jobmanager_view {
    struct weir_jobmanager *jobmanager;
    const struct weir_config *config;
    const char *taskmanager_binary; /* builds graphs in a child process */
    const char *log_directory;      /* of this host's cluster: logs in it can be read here */
    struct weir_cluster_view view;  /* what REST gets */
};
void weir_jobmanager_view_init(struct weir_jobmanager_view *view);

#endif
