/* The JobManager as a process: configuration to a running loop with its REST server. */
#ifndef WEIR_JOBMANAGER_IO_DAEMON_H
#define WEIR_JOBMANAGER_IO_DAEMON_H

/* `weir-jobmanager [--config FILE] [-D key=value ...]`; returns the exit code. */
int weir_jobmanager_main(int argc, char **argv);

#endif
