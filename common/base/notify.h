/* Says to the service manager (systemd, Type=notify) that this process is ready: a datagram to $NOTIFY_SOCKET, see sd_notify(3). */
#ifndef WEIR_BASE_NOTIFY_H
#define WEIR_BASE_NOTIFY_H

/* Takes the socket's name out of the environment, so that children do not speak for this process. Once, before any thread is started. */
void weir_notify_init(void);
/* One datagram: "READY=1", "STATUS=..."; several separated by newlines. Does nothing without a service manager; does not block, and one
 * that cannot be sent is only logged: the manager's own time limit is what notices. */
void weir_notify(const char *state);

#endif
