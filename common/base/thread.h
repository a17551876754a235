/* How the kernel weighs a thread against others of the machine. Advice: where the kernel refuses it, nothing else changes. */
#ifndef WEIR_BASE_THREAD_H
#define WEIR_BASE_THREAD_H

/* The calling thread works for later, on what others wait for least: of a busy core it gets a quarter, and it takes the core from nobody who has it.
 * Threads that it begins are the same. It takes no privilege, and there is no way back; a process's first thread stays as it is. */
void weir_thread_background(void);

#endif
