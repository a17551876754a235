/* Client of a schema registry: Confluent's interface, as Confluent's own registry and Apicurio's (/apis/ccompat/v7) have it.
 *
 * Where it blocks. Opening does no I/O: a graph is also built where no registry is. fetch(), latest(), register() and lookup()
 * ask the registry and BLOCK their thread, which is the task's where a format calls them: a decoder when a record has an id that it has not
 * met, an encoder before its first record. That is once for each schema in a task's life, milliseconds each; a registry that does not
 * answer holds the task (and the others of its worker thread) for the option `timeout` at most, 10 s unless said otherwise. Until then every
 * server of `url` is asked again and again, with growing pauses. Then the call fails with IO: the task fails and is started again by the job's restart strategy,
 * with nothing lost. Only what is a record's own fault is DATA, for `on-error` to decide: an id that the registry does not know.
 * What does not help to try again is INVALID (credentials that are refused, a schema that is refused as incompatible);
 * PROTOCOL: what answers is no schema registry.
 *
 * Bounds: SCHEMAS_MAX schemas and SCHEMA_BYTES_MAX bytes of text are kept, the least recently used go first; an id that is unknown is not asked for again for
 * UNKNOWN_MS_MAX; a schema and all that it refers to have at most REFERENCES_MAX parts and ANSWER_SIZE_MAX bytes.
 *
 * A client belongs to one thread.
 */
#ifndef WEIR_REGISTRY_REGISTRY_H
#define WEIR_REGISTRY_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/options.h"

#define WEIR_REGISTRY_SCHEMAS_MAX 1000
#define WEIR_REGISTRY_SCHEMA_BYTES_MAX ((size_t)64 << 20)
#define WEIR_REGISTRY_UNKNOWN_MS_MAX 10000
#define WEIR_REGISTRY_REFERENCES_MAX 256
#define WEIR_REGISTRY_ANSWER_SIZE_MAX ((size_t)8 << 20)

enum weir_schema_kind { WEIR_SCHEMA_AVRO, WEIR_SCHEMA_PROTOBUF, WEIR_SCHEMA_JSON };

/* A schema that another one refers to. */
struct weir_registry_reference {
    const char *
        name; /* how the other one calls it: a type's full name (Avro), an imported file (Protobuf), a URL (JSON Schema) */
    const char *subject;
    int version;
    const char *text;
};

struct weir_registry_schema {
    int32_t id;
    enum weir_schema_kind kind;
    const char *text;
    /* All that it refers to, directly or not; one stands before those that refer to it. */
    const struct weir_registry_reference *references;
    int reference_count;
    /* What the format made of it, freed with it; NULL until the format sets it. */
    void *program;
    void (*program_free)(void *program);
};

struct weir_registry;

/* Rows of a format's option table, `format` a literal: WEIR_REGISTRY_OPTIONS("avro-confluent"). Flink's names. */
#define WEIR_REGISTRY_OPTIONS(format) \
    {format ".url", WEIR_OPTION_STRING, NULL, NULL, \
     "where the schema registry is; several of the same registry are separated by ','"}, \
        {format ".timeout", WEIR_OPTION_DURATION, "10 s", NULL, \
         "how long the registry is asked until the task fails (and is started again)"}, \
        {format ".basic-auth.user-info", WEIR_OPTION_STRING, "", NULL, "USER:PASSWORD for the registry"}, \
        {format ".basic-auth.credentials-source", WEIR_OPTION_ENUM, "USER_INFO", "USER_INFO", \
         "where they stand: in basic-auth.user-info"}, \
        {format ".bearer-auth.token", WEIR_OPTION_STRING, "", NULL, \
         "a token for the registry, instead of a password"}, \
        {format ".bearer-auth.credentials-source", WEIR_OPTION_ENUM, "STATIC_TOKEN", "STATIC_TOKEN", \
         "where it stands: in bearer-auth.token"}, \
        {format ".ssl.truststore.location", WEIR_OPTION_STRING, "", NULL, \
         "PEM file of those who may have signed the registry's certificate; without it the system's list"}, \
        {format ".ssl.keystore.location", WEIR_OPTION_STRING, "", NULL, \
         "PEM file with the certificate, and its key, that the registry demands of a client"}, \
    { \
        format ".ssl.keystore.password", WEIR_OPTION_STRING, "", NULL, "of the key in it, if it has one" \
    }
/* The same for formats that write. */
#define WEIR_REGISTRY_SUBJECT_OPTIONS(format) \
    {format ".subject", WEIR_OPTION_STRING, "", NULL, \
     "the subject of what is written; without it TOPIC-value, where the option 'topic' names one topic"}, \
    { \
        format ".auto-register", WEIR_OPTION_BOOL, "true", NULL, \
            "register the schema of what is written; false: it must be there already" \
    }

/* From the options FORMAT.url and so on, which weir_options_check() has accepted. `format` outlives the registry. No I/O. INVALID. */
weir_err weir_registry_open(const char *format, const struct weir_key_value *options, int option_count,
                            const struct weir_option *table, struct weir_registry **registry, struct weir_error *error);
void weir_registry_close(struct weir_registry *registry); /* NULL is allowed */

/* By id. *schema is the cache's: valid until the next call of any function here. DATA: the registry does not know the id. */
weir_err weir_registry_fetch(struct weir_registry *registry, int32_t id, struct weir_registry_schema **schema,
                             struct weir_error *error);
/* The newest of a subject, as the registry says it now. NOT_FOUND: no such subject. */
weir_err weir_registry_latest(struct weir_registry *registry, const char *subject, struct weir_registry_schema **schema,
                              struct weir_error *error);

/* The subject of what is written: the option's, or TOPIC-value. Freed by the caller. INVALID: neither is given. */
weir_err weir_registry_subject(const char *format, const struct weir_key_value *options, int option_count,
                               const struct weir_option *table, char **subject, struct weir_error *error);
/* The id of `schema` (kind, text, references' name, subject and version) under the subject. It is registered when it is not there (again does no harm); with
 * `only_look` that is NOT_FOUND. INVALID: the registry refuses it, incompatible with what is there, or not a schema. */
weir_err weir_registry_register(struct weir_registry *registry, const char *subject,
                                const struct weir_registry_schema *schema, bool only_look, int32_t *id,
                                struct weir_error *error);

#endif
