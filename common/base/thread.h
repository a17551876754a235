/* How the kernel weighs the calling thread against others of the machine. Advice: where the kernel refuses it, nothing else changes.
 * None of it asks for a privilege. */
#ifndef WEIR_BASE_THREAD_H
#define WEIR_BASE_THREAD_H

/* It works for later, on what others wait for least: of a busy core it gets a quarter, and it takes the core from nobody who has it. Threads that
 * it begins are the same. There is no way back. */
void weir_thread_background(void);

#endif
