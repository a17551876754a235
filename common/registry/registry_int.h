/* Private to the registry's client: questions over HTTP, and what is kept. */
#ifndef WEIR_REGISTRY_REGISTRY_INT_H
#define WEIR_REGISTRY_REGISTRY_INT_H

#include <jansson.h>

#include "registry/registry.h"

#define WEIR_REGISTRY_URLS_MAX 16
#define WEIR_REGISTRY_UNKNOWN_MAX 64 /* ids that the registry does not know, remembered */

/* --- One question (registry_call.c) */

struct weir_registry_server {
    const char *format; /* opens messages; borrowed */
    char *urls[WEIR_REGISTRY_URLS_MAX];
    int url_count;
    int url_good; /* the one that answered last */
    int timeout_ms;
    char *user_info; /* or NULL, as the following */
    char *token;
    char *ca_file, *certificate_file, *certificate_password;
};

weir_err weir_registry_server_init(struct weir_registry_server *server, const char *format,
                                   const struct weir_key_value *options, int option_count,
                                   const struct weir_option *table, struct weir_error *error);
void weir_registry_server_fini(struct weir_registry_server *server);

/* `body`: NULL for GET, else the request is POST. Whatever the registry says in JSON is an answer: *answer is the caller's reference, *status the HTTP status
 * (2xx, 4xx). IO: it cannot be reached, or has trouble; INVALID: it refuses us; PROTOCOL: it is no registry. */
weir_err weir_registry_call(struct weir_registry_server *server, const char *path, const char *body, int *status,
                            json_t **answer, struct weir_error *error);

/* --- What is kept (registry_cache.c) */

struct weir_registry_entry {
    struct weir_registry_schema schema;
    struct weir_arena memory; /* of all that `schema` points to, but the program */
    uint64_t used_at;         /* grows with each use */
};

struct weir_registry_cache {
    struct weir_registry_entry *entries[WEIR_REGISTRY_SCHEMAS_MAX]; /* sorted by id */
    int count;
    size_t bytes;
    uint64_t uses;
    struct weir_registry_entry *last;
    struct {
        int32_t id;
        int64_t until_ms;
    } unknown[WEIR_REGISTRY_UNKNOWN_MAX];
    int unknown_next;
};

struct weir_registry_entry *weir_registry_entry_new(void);
void weir_registry_entry_free(struct weir_registry_entry *entry);
/* NULL: not there. */
struct weir_registry_schema *weir_registry_cache_find(struct weir_registry_cache *cache, int32_t id);
/* Room is made for it; one with the same id is replaced. */
struct weir_registry_schema *weir_registry_cache_put(struct weir_registry_cache *cache,
                                                     struct weir_registry_entry *take_entry);
bool weir_registry_cache_is_unknown(const struct weir_registry_cache *cache, int32_t id, int64_t now_ms);
void weir_registry_cache_put_unknown(struct weir_registry_cache *cache, int32_t id, int64_t now_ms);
void weir_registry_cache_fini(struct weir_registry_cache *cache);

#endif
