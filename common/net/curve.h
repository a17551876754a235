/* CURVE keys of the processes: made, kept in files, put on sockets; and who has which, by the configuration.
 *
 * Files are text, one key a line, `#` opens a comment:
 *     secret key file     public HEX  /  secret HEX      (64 hex digits each)
 *     public key file     public HEX
 *     list of keys        HEX NAME                       (who may connect; the name is for people)
 *
 *                      has                                      believes
 *     JobManager       its secret key                           the TaskManagers' public keys (list)
 *     TaskManager      its secret key                           the JobManager's public key
 *     executor         keys of its own, made at its start       the keys that the JobManager names with a deployment
 */
#ifndef WEIR_NET_CURVE_H
#define WEIR_NET_CURVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"

#define WEIR_CURVE_KEY_SIZE 32
#define WEIR_CURVE_HEX_SIZE 65

struct weir_curve_pair {
    uint8_t public_key[WEIR_CURVE_KEY_SIZE], secret_key[WEIR_CURVE_KEY_SIZE];
};

weir_err weir_curve_pair_new(struct weir_curve_pair *pair, struct weir_error *error);
/* `what`: the configuration key that named the file. */
weir_err weir_curve_pair_read(const char *what, const char *path, struct weir_curve_pair *pair,
                              struct weir_error *error);
weir_err weir_curve_public_read(const char *what, const char *path, uint8_t key[WEIR_CURVE_KEY_SIZE],
                                struct weir_error *error);

/* A list of public keys in a file, read anew when the file changes. One thread. */
struct weir_curve_list;
weir_err weir_curve_list_open(const char *what, const char *path, struct weir_curve_list **list,
                              struct weir_error *error);
/* False: not in the list. *name (may be NULL): its name, until the next call. */
bool weir_curve_list_has(struct weir_curve_list *list, const uint8_t key[WEIR_CURVE_KEY_SIZE], const char **name);
void weir_curve_list_free(struct weir_curve_list *list);

/* Before bind or connect. A server asks the context's ZAP handler (net/zap.h) about each client. */
weir_err weir_curve_server(void *socket, const struct weir_curve_pair *own, struct weir_error *error);
weir_err weir_curve_client(void *socket, const struct weir_curve_pair *own,
                           const uint8_t server_key[WEIR_CURVE_KEY_SIZE], struct weir_error *error);

/* What a daemon's configuration says. `on` false: no keys are configured. */
struct weir_curve {
    bool on;
    struct weir_curve_pair own;
    uint8_t server_key[WEIR_CURVE_KEY_SIZE]; /* TaskManager: the JobManager's */
    char *allowed_path;                      /* JobManager: the list */
};
weir_err weir_curve_of_jobmanager(const struct weir_config *config, struct weir_curve *curve, struct weir_error *error);
weir_err weir_curve_of_taskmanager(const struct weir_config *config, struct weir_curve *curve,
                                   struct weir_error *error);
void weir_curve_fini(struct weir_curve *curve);

#endif
