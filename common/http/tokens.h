/* Bearer tokens of the REST interface: a file of roles and tokens, one a line, `#` opens a comment:
 *
 *     admin 5f0c...        a token is 64 or more hex digits (256 bits)
 *     submit 9a31...       a line without a role is an admin's
 *     read 77e2...
 *
 * read: everything that only shows. submit: jobs and uploads too. admin: all. A server takes every token of its file and reads the file
 * anew when it changes; a client sends the first token of its own.
 *
 * Tokens are kept as SHA-256 digests and compared in constant time. Neither side ever logs one.
 */
#ifndef WEIR_HTTP_TOKENS_H
#define WEIR_HTTP_TOKENS_H

#include "base/error.h"

enum weir_role {
    WEIR_ROLE_NONE,
    WEIR_ROLE_READ,
    WEIR_ROLE_SUBMIT,
    WEIR_ROLE_ADMIN
}; /* each may what those before it may */

struct weir_tokens;

/* `what`: the configuration key that named the file. */
weir_err weir_tokens_open(const char *what, const char *path, struct weir_tokens **tokens, struct weir_error *error);
/* The role of an Authorization header ("Bearer TOKEN"; NULL: there is none). One thread. */
enum weir_role weir_tokens_role(struct weir_tokens *tokens, const char *authorization);
void weir_tokens_close(struct weir_tokens *tokens); /* NULL is allowed */

/* A client's token: the first of the file. Freed by weir_secret_free(). */
weir_err weir_token_read(const char *what, const char *path, char **token, struct weir_error *error);

#endif
