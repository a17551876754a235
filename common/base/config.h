/* The cluster's configuration: one table of options (config_table.c), from which parsing, --help, validation and
 * docs/configuration.md are made. Keys are Flink's where Flink has one.
 *
 * Precedence: -D key=value, then the environment (WEIR_ + key in capitals, '.' and '-' as '_'), then the file (--config,
 * $WEIR_CONF, $WEIR_HOME/conf/weir.yaml, /etc/weir/weir.yaml: the first that exists), then the default. The file has flat dotted keys,
 * `key: value`, `#` comments. An unknown key or a value of the wrong type is an error that names file, line and the nearest key.
 */
#ifndef WEIR_BASE_CONFIG_H
#define WEIR_BASE_CONFIG_H

#include "base/options.h"

struct weir_config; /* values; immutable after loading, may be read by all threads */

extern const struct weir_option weir_config_table[]; /* ends with name NULL; sorted by name */

/* `overrides`: the -D pairs. `file`: --config, or NULL to look as above (`home` = $WEIR_HOME or ~/.weir). */
weir_err weir_config_load(const char *file, const char *home, const struct weir_key_value *overrides,
                          int override_count, struct weir_config **config, struct weir_error *error);
void weir_config_free(struct weir_config *config);
/* All asserted to be in the table. A required-less option without a value gives NULL / 0. */
const char *weir_config_string(const struct weir_config *config, const char *key);
int64_t weir_config_int(const struct weir_config *config, const char *key); /* durations ms, sizes bytes, bool 0/1 */
double weir_config_double(const struct weir_config *config, const char *key);
/* Where the value came from: "default", "environment", "-D", or "FILE:LINE". */
const char *weir_config_origin(const struct weir_config *config, const char *key);
/* Sentences about what was taken but should be written otherwise (older spellings). The daemons log them, the command prints them. */
int weir_config_note_count(const struct weir_config *config);
const char *weir_config_note(const struct weir_config *config, int index);
void weir_config_log_notes(const struct weir_config *config);
/* A copy with a job's own keys over it; keys are checked like -D's. Its notes are logged. */
weir_err weir_config_overlay(const struct weir_config *config, const struct weir_key_value *overrides, int count,
                             struct weir_config **out, struct weir_error *error);
/* The values of such keys are never shown. */
bool weir_config_is_secret(const char *key);
/* WEIR_OK when the host of `key` (rest.bind-address, jobmanager.bind-host, taskmanager.bind-host)
 * is loopback, or CURVE keys and a REST token are configured, or security.insecure accepts to be without (then with a warning in the
 * log). Every daemon asks this before it binds. */
weir_err weir_config_check_bind(const struct weir_config *config, const char *key, struct weir_error *error);
/* "0", "50100", "50100-50200" (taskmanager.data.port); false: none of them. */
bool weir_config_parse_ports(const char *text, int *first, int *last);
/* Markdown of docs/configuration.md; `out` has room for 64 KiB. */
void weir_config_print_markdown(struct weir_buf *out);

#endif
