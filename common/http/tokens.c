#include "http/tokens.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/secret.h"

#define TOKENS_MAX 256
#define TOKEN_SIZE_MIN 64
#define TOKEN_SIZE_MAX 512
#define LOOK_INTERVAL_MS 1000 /* how often the file is looked at */

struct token {
    enum weir_role role;
    char digest[65];
};

struct weir_tokens {
    char *what, *path;
    struct stat seen;
    int64_t look_at_ms;
    struct token *items;
    int count;
};

/* The next role and token, pointing into the text, which is cut; 0: none is left, -1: a line that is none (line: its number). */
static int next_token(char **at, int *line, enum weir_role *role, char **token)
{
    static const char *const names[] = {NULL, "read", "submit", "admin"};
    while (*at && **at) {
        char *text = *at, *end = strchr(text, '\n');
        *at = end ? end + 1 : NULL;
        if (end)
            *end = 0;
        ++*line;
        text[strcspn(text, "#\r")] = 0;
        char *words[3];
        int count = 0;
        char *save = NULL;
        for (char *word = strtok_r(text, " \t", &save); word && count < 3; word = strtok_r(NULL, " \t", &save))
            words[count++] = word;
        if (count == 0)
            continue;
        *token = words[count - 1];
        *role = count == 1 ? WEIR_ROLE_ADMIN : WEIR_ROLE_NONE;
        for (int r = WEIR_ROLE_READ; count == 2 && r <= WEIR_ROLE_ADMIN; r++)
            if (strcmp(words[0], names[r]) == 0)
                *role = (enum weir_role)r;
        size_t size = strlen(*token);
        bool well_formed = count < 3 && *role != WEIR_ROLE_NONE && size >= TOKEN_SIZE_MIN && size <= TOKEN_SIZE_MAX &&
                           strspn(*token, "0123456789abcdefABCDEF") == size;
        return well_formed ? 1 : -1;
    }
    return 0;
}

static weir_err bad_line(const char *what, const char *path, int line, struct weir_error *error)
{
    return weir_fail(error, WEIR_ERR_INVALID,
                     "%s: %s:%d is not a role (read, submit, admin) and a token of 64 or more hex digits, as weir "
                     "security init writes them",
                     what, path, line);
}

static weir_err load(struct weir_tokens *tokens, struct weir_error *error)
{
    char *text;
    struct stat info;
    if (stat(tokens->path, &info) != 0)
        memset(&info, 0, sizeof info);
    tokens->seen = info;
    weir_err err = weir_secret_read(tokens->what, tokens->path, &text, error);
    if (err)
        return err;
    size_t size = strlen(text);
    struct token *items = weir_zalloc(TOKENS_MAX * sizeof *items);
    int count = 0, line = 0, found;
    char *at = text, *token;
    enum weir_role role;
    while ((found = next_token(&at, &line, &role, &token)) > 0 && count < TOKENS_MAX) {
        items[count].role = role;
        weir_sha256_hex(token, strlen(token), items[count].digest);
        count++;
    }
    explicit_bzero(text, size);
    free(text);
    if (found < 0)
        err = bad_line(tokens->what, tokens->path, line, error);
    else if (found > 0)
        err = weir_fail(error, WEIR_ERR_INVALID, "%s: %s has more than %d tokens", tokens->what, tokens->path,
                        TOKENS_MAX);
    else if (count == 0)
        err = weir_fail(error, WEIR_ERR_INVALID, "%s: %s has no token", tokens->what, tokens->path);
    if (err) {
        free(items);
        return err;
    }
    free(tokens->items);
    tokens->items = items;
    tokens->count = count;
    return WEIR_OK;
}

weir_err weir_tokens_open(const char *what, const char *path, struct weir_tokens **out, struct weir_error *error)
{
    struct weir_tokens *tokens = weir_zalloc(sizeof *tokens);
    tokens->what = weir_strdup(what);
    tokens->path = weir_strdup(path);
    weir_err err = load(tokens, error);
    if (err)
        weir_tokens_close(tokens);
    else
        *out = tokens;
    return err;
}

static void refresh(struct weir_tokens *tokens)
{
    int64_t now_ms = weir_clock_mono_ms();
    struct stat now;
    struct weir_error error;
    if (now_ms < tokens->look_at_ms)
        return;
    tokens->look_at_ms = now_ms + LOOK_INTERVAL_MS;
    if (stat(tokens->path, &now) != 0 ||
        (now.st_mtim.tv_sec == tokens->seen.st_mtim.tv_sec && now.st_mtim.tv_nsec == tokens->seen.st_mtim.tv_nsec &&
         now.st_size == tokens->seen.st_size && now.st_ino == tokens->seen.st_ino &&
         now.st_mode == tokens->seen.st_mode))
        return;
    if (load(tokens, &error))
        weir_log(WARN, "%s; the tokens that were read before stay in force", error.message);
    else
        weir_log(INFO, "%s: %s was read anew, %d tokens", tokens->what, tokens->path, tokens->count);
}

enum weir_role weir_tokens_role(struct weir_tokens *tokens, const char *authorization)
{
    refresh(tokens);
    if (!authorization || strncasecmp(authorization, "Bearer ", 7) != 0)
        return WEIR_ROLE_NONE;
    const char *token = authorization + 7 + strspn(authorization + 7, " ");
    size_t size = strcspn(token, " \t");
    char digest[65];
    weir_sha256_hex(token, size, digest);
    enum weir_role role = WEIR_ROLE_NONE;
    for (int i = 0; i < tokens->count; i++) /* all of them, whichever fits */
        if (CRYPTO_memcmp(tokens->items[i].digest, digest, sizeof digest) == 0)
            role = tokens->items[i].role;
    return role;
}

void weir_tokens_close(struct weir_tokens *tokens)
{
    if (!tokens)
        return;
    free(tokens->what);
    free(tokens->path);
    free(tokens->items);
    free(tokens);
}

weir_err weir_token_read(const char *what, const char *path, char **out, struct weir_error *error)
{
    char *text;
    weir_err err = weir_secret_read(what, path, &text, error);
    if (err)
        return err;
    size_t size = strlen(text);
    int line = 0;
    char *at = text, *token;
    enum weir_role role;
    int found = next_token(&at, &line, &role, &token);
    if (found > 0)
        *out = weir_strdup(token);
    else if (found < 0)
        err = bad_line(what, path, line, error);
    else
        err = weir_fail(error, WEIR_ERR_INVALID, "%s: %s has no token", what, path);
    explicit_bzero(text, size);
    free(text);
    return err;
}
