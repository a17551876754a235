/* The first process of a container. */
#ifndef WEIR_BASE_INIT_H
#define WEIR_BASE_INIT_H

/* Where this process is number 1 of its namespace: forks, and returns in the child; the parent passes signals on, waits for every process
 * that lost its parent, and ends with the child's exit status (128 + signal, where a signal ended it). Elsewhere: nothing. Call first in
 * main(), before any thread is started. */
void weir_init_if_first(void);

#endif
