#include "net/curve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zmq.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/secret.h"

#define DOMAIN "weir"
#define LIST_MAX 65536

struct entry {
    uint8_t key[WEIR_CURVE_KEY_SIZE];
    char name[64];
};

struct weir_curve_list {
    char *what, *path;
    struct stat seen; /* of the file when it was read */
    struct entry *entries;
    int count;
};

weir_err weir_curve_pair_new(struct weir_curve_pair *pair, struct weir_error *error)
{
    char public_text[41], secret_text[41];
    if (zmq_curve_keypair(public_text, secret_text) != 0)
        return weir_fail(error, WEIR_ERR_UNSUPPORTED, "this libzmq has no CURVE: %s", zmq_strerror(errno));
    bool ok = zmq_z85_decode(pair->public_key, public_text) && zmq_z85_decode(pair->secret_key, secret_text);
    explicit_bzero(secret_text, sizeof secret_text);
    return ok ? WEIR_OK : weir_fail(error, WEIR_ERR_IO, "libzmq made no key pair");
}

static weir_err check_pair(const char *what, const char *path, const struct weir_curve_pair *pair,
                           struct weir_error *error)
{
    char secret_text[41], public_text[41];
    uint8_t key[WEIR_CURVE_KEY_SIZE];
    bool ok = zmq_z85_encode(secret_text, pair->secret_key, sizeof pair->secret_key) &&
              zmq_curve_public(public_text, secret_text) == 0 && zmq_z85_decode(key, public_text) &&
              memcmp(key, pair->public_key, sizeof key) == 0;
    explicit_bzero(secret_text, sizeof secret_text);
    return ok ? WEIR_OK
              : weir_fail(error, WEIR_ERR_INVALID, "%s: the secret key in %s does not belong to the public key there",
                          what, path);
}

/* --- Files */

/* The next line that says something, cut at its end, without blanks around it; NULL: none is left. */
static char *next_line(char **at)
{
    while (*at && **at) {
        char *line = *at, *end = strchr(line, '\n');
        *at = end ? end + 1 : NULL;
        if (end)
            *end = 0;
        line[strcspn(line, "#")] = 0;
        line += strspn(line, " \t\r");
        size_t size = strlen(line);
        while (size && strchr(" \t\r", line[size - 1]))
            line[--size] = 0;
        if (size)
            return line;
    }
    return NULL;
}

static bool parse_key(const char *text, uint8_t key[WEIR_CURVE_KEY_SIZE])
{
    return strlen(text) == 2 * WEIR_CURVE_KEY_SIZE && weir_hex_decode(text, WEIR_CURVE_KEY_SIZE, key);
}

/* "public HEX" and "secret HEX" lines; the message never quotes a line. */
static weir_err parse_pair(const char *what, const char *path, char *text, struct weir_curve_pair *pair,
                           bool *has_public, bool *has_secret, struct weir_error *error)
{
    char *at = text;
    *has_public = *has_secret = false;
    for (char *line; (line = next_line(&at));) {
        bool secret = strncmp(line, "secret ", 7) == 0;
        uint8_t *key = secret ? pair->secret_key : pair->public_key;
        if ((!secret && strncmp(line, "public ", 7) != 0) || !parse_key(line + 7 + strspn(line + 7, " \t"), key))
            return weir_fail(error, WEIR_ERR_INVALID,
                             "%s: %s is no key file: its lines are 'public' or 'secret' and 64 hex digits, as weir "
                             "security init writes them",
                             what, path);
        *(secret ? has_secret : has_public) = true;
    }
    return WEIR_OK;
}

weir_err weir_curve_pair_read(const char *what, const char *path, struct weir_curve_pair *pair,
                              struct weir_error *error)
{
    char *text;
    bool has_public, has_secret;
    weir_err err = weir_secret_read(what, path, &text, error);
    if (err)
        return err;
    size_t size = strlen(text);
    err = parse_pair(what, path, text, pair, &has_public, &has_secret, error);
    if (!err && (!has_public || !has_secret))
        err = weir_fail(error, WEIR_ERR_INVALID, "%s: %s has no %s key", what, path, has_public ? "secret" : "public");
    explicit_bzero(text, size);
    free(text);
    return err ? err : check_pair(what, path, pair, error);
}

weir_err weir_curve_public_read(const char *what, const char *path, uint8_t key[WEIR_CURVE_KEY_SIZE],
                                struct weir_error *error)
{
    char *text;
    struct weir_curve_pair pair;
    bool has_public, has_secret;
    weir_err err = weir_public_read(what, path, &text, error);
    if (err)
        return err;
    err = parse_pair(what, path, text, &pair, &has_public, &has_secret, error);
    free(text);
    if (!err && has_secret)
        err = weir_fail(error, WEIR_ERR_INVALID,
                        "%s: %s holds the secret key too; only the public one belongs here: the secret one stays with "
                        "its owner",
                        what, path);
    if (!err && !has_public)
        err = weir_fail(error, WEIR_ERR_INVALID, "%s: %s has no public key", what, path);
    if (!err)
        memcpy(key, pair.public_key, sizeof pair.public_key);
    explicit_bzero(&pair, sizeof pair);
    return err;
}

/* --- Lists */

static weir_err read_list(struct weir_curve_list *list, struct weir_error *error)
{
    char *text;
    struct stat info; /* of before: a change while it is read is seen as one */
    if (stat(list->path, &info) != 0)
        memset(&info, 0, sizeof info);
    weir_err err = weir_public_read(list->what, list->path, &text, error);
    if (err)
        return err;
    struct entry *entries = NULL;
    int count = 0, capacity = 0;
    char *at = text;
    for (char *line; !err && (line = next_line(&at));) {
        if (count == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            entries = weir_realloc(entries, (size_t)capacity * sizeof *entries);
        }
        struct entry *entry = &entries[count];
        size_t size = strcspn(line, " \t");
        const char *name = line + size + strspn(line + size, " \t");
        snprintf(entry->name, sizeof entry->name, "%s", name);
        line[size] = 0;
        if (count == LIST_MAX || !parse_key(line, entry->key))
            err = weir_fail(error, WEIR_ERR_INVALID,
                            "%s: line for key %d of %s does not begin with the 64 hex digits of a public key",
                            list->what, count + 1, list->path);
        count++;
    }
    free(text);
    if (err) {
        free(entries);
        return err;
    }
    free(list->entries);
    list->entries = entries;
    list->count = count;
    list->seen = info;
    return WEIR_OK;
}

weir_err weir_curve_list_open(const char *what, const char *path, struct weir_curve_list **out,
                              struct weir_error *error)
{
    struct weir_curve_list *list = weir_zalloc(sizeof *list);
    list->what = weir_strdup(what);
    list->path = weir_strdup(path);
    weir_err err = read_list(list, error);
    if (err)
        weir_curve_list_free(list);
    else
        *out = list;
    return err;
}

/* A file that cannot be read any more leaves the list as it is: a slip of an editor must not throw the whole cluster out. */
static void refresh(struct weir_curve_list *list)
{
    struct stat now;
    struct weir_error error;
    if (stat(list->path, &now) == 0 && now.st_mtim.tv_sec == list->seen.st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == list->seen.st_mtim.tv_nsec && now.st_size == list->seen.st_size &&
        now.st_ino == list->seen.st_ino)
        return;
    if (read_list(list, &error)) {
        weir_log(WARN, "%s; the list as it was read before stays in force", error.message);
        memset(&list->seen, 0, sizeof list->seen);
        if (stat(list->path, &now) == 0)
            list->seen = now; /* said once for each state of the file */
        return;
    }
    weir_log(INFO, "%s: %s was read anew, %d keys", list->what, list->path, list->count);
}

bool weir_curve_list_has(struct weir_curve_list *list, const uint8_t key[WEIR_CURVE_KEY_SIZE], const char **name)
{
    refresh(list);
    for (int i = 0; i < list->count; i++)
        if (memcmp(list->entries[i].key, key, WEIR_CURVE_KEY_SIZE) == 0) { /* public keys: nothing to hide */
            if (name)
                *name = list->entries[i].name;
            return true;
        }
    return false;
}

void weir_curve_list_free(struct weir_curve_list *list)
{
    if (!list)
        return;
    free(list->what);
    free(list->path);
    free(list->entries);
    free(list);
}

/* --- Sockets */

static weir_err refused_option(struct weir_error *error)
{
    return weir_fail(error, errno == EINVAL ? WEIR_ERR_UNSUPPORTED : WEIR_ERR_IO,
                     "cannot put CURVE keys on a ZeroMQ socket: %s (was libzmq built with libsodium?)",
                     zmq_strerror(errno));
}

weir_err weir_curve_server(void *socket, const struct weir_curve_pair *own, struct weir_error *error)
{
    int one = 1;
    if (zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &one, sizeof one) != 0 ||
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, own->secret_key, sizeof own->secret_key) != 0 ||
        zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, DOMAIN, strlen(DOMAIN)) != 0)
        return refused_option(error);
    return WEIR_OK;
}

weir_err weir_curve_client(void *socket, const struct weir_curve_pair *own,
                           const uint8_t server_key[WEIR_CURVE_KEY_SIZE], struct weir_error *error)
{
    if (zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server_key, WEIR_CURVE_KEY_SIZE) != 0 ||
        zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, own->public_key, sizeof own->public_key) != 0 ||
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, own->secret_key, sizeof own->secret_key) != 0)
        return refused_option(error);
    return WEIR_OK;
}

/* --- Configuration */

/* Both of a role's files, or none. *on: both are named. */
static weir_err both_or_none(const struct weir_config *config, const char *first, const char *second, bool *on,
                             struct weir_error *error)
{
    bool has_first = weir_config_string(config, first) != NULL, has_second = weir_config_string(config, second) != NULL;
    *on = has_first && has_second;
    if (has_first != has_second)
        return weir_fail(error, WEIR_ERR_INVALID, "'%s' is set and '%s' is not: CURVE needs both (weir security init)",
                         has_first ? first : second, has_first ? second : first);
    return WEIR_OK;
}

weir_err weir_curve_of_jobmanager(const struct weir_config *config, struct weir_curve *curve, struct weir_error *error)
{
    static const char key[] = "security.curve.jobmanager-key-file";
    static const char list[] = "security.curve.taskmanager-public-keys-file";
    memset(curve, 0, sizeof *curve);
    weir_err err = both_or_none(config, key, list, &curve->on, error);
    if (err || !curve->on)
        return err;
    err = weir_curve_pair_read(key, weir_config_string(config, key), &curve->own, error);
    if (!err)
        curve->allowed_path = weir_strdup(weir_config_string(config, list));
    return err;
}

weir_err weir_curve_of_taskmanager(const struct weir_config *config, struct weir_curve *curve, struct weir_error *error)
{
    static const char key[] = "security.curve.taskmanager-key-file";
    static const char server[] = "security.curve.jobmanager-public-key-file";
    memset(curve, 0, sizeof *curve);
    weir_err err = both_or_none(config, key, server, &curve->on, error);
    if (err || !curve->on)
        return err;
    err = weir_curve_pair_read(key, weir_config_string(config, key), &curve->own, error);
    return err ? err : weir_curve_public_read(server, weir_config_string(config, server), curve->server_key, error);
}

void weir_curve_fini(struct weir_curve *curve)
{
    free(curve->allowed_path);
    explicit_bzero(curve, sizeof *curve);
}
