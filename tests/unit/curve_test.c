/* Key files, lists of keys, tokens: what is taken, what is refused with which words; and the control line between right and wrong keys. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/secret.h"
#include "http/tokens.h"
#include "net/address.h"
#include "net/control_line.h"

static char directory[] = "/tmp/weir-curve-XXXXXX";
static struct weir_error error;

static const char *file(const char *name, const char *text, int mode)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    assert_int_equal(weir_secret_write(path, text, mode, true, &error), 0);
    return path;
}

static void hex_of(const uint8_t *key, char hex[WEIR_CURVE_HEX_SIZE])
{
    weir_hex_encode(key, WEIR_CURVE_KEY_SIZE, hex);
}

static void key_files(void **state)
{
    (void)state;
    struct weir_curve_pair pair, read;
    char public_hex[65], secret_hex[65], text[400];
    assert_int_equal(weir_curve_pair_new(&pair, &error), 0);
    hex_of(pair.public_key, public_hex);
    hex_of(pair.secret_key, secret_hex);
    snprintf(text, sizeof text, "# a comment\n\n  public  %s \r\nsecret %s # mine\n", public_hex, secret_hex);
    assert_int_equal(weir_curve_pair_read("k", file("pair", text, 0600), &read, &error), 0);
    assert_memory_equal(&pair, &read, sizeof pair);
    uint8_t key[WEIR_CURVE_KEY_SIZE];
    assert_int_equal(weir_curve_public_read("k", file("pair", text, 0600), key, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "secret key too"));
    assert_null(strstr(error.message, secret_hex));
    snprintf(text, sizeof text, "public %s\n", public_hex);
    assert_int_equal(weir_curve_public_read("k", file("pub", text, 0644), key, &error), 0);
    assert_memory_equal(key, pair.public_key, sizeof key);
    assert_int_equal(weir_curve_pair_read("k", file("pub", text, 0600), &read, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "no secret key"));
    public_hex[5] = public_hex[5] == '0' ? '1' : '0';
    snprintf(text, sizeof text, "public %s\nsecret %s", public_hex, secret_hex);
    assert_int_equal(weir_curve_pair_read("k", file("pair", text, 0600), &read, &error), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "does not belong"));
    static const char *const broken[] = {"", "public 12\n", "secret\n", "nothing here", "public zz", "\x01\x02"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
        assert_int_equal(weir_curve_pair_read("k", file("pair", broken[i], 0600), &read, &error), WEIR_ERR_INVALID);
}

static void lists_follow_their_file(void **state)
{
    (void)state;
    struct weir_curve_pair one, two;
    char a[65], b[65], text[400];
    assert_int_equal(weir_curve_pair_new(&one, &error), 0);
    assert_int_equal(weir_curve_pair_new(&two, &error), 0);
    hex_of(one.public_key, a);
    hex_of(two.public_key, b);
    snprintf(text, sizeof text, "# who\n%s one\n%s\n", a, b);
    struct weir_curve_list *list = NULL;
    const char *name = NULL;
    char path[128];
    snprintf(path, sizeof path, "%s", file("list", text, 0644));
    assert_int_equal(weir_curve_list_open("k", path, &list, &error), 0);
    assert_true(weir_curve_list_has(list, one.public_key, &name));
    assert_string_equal(name, "one");
    assert_true(weir_curve_list_has(list, two.public_key, NULL));
    assert_false(weir_curve_list_has(list, two.secret_key, NULL));
    snprintf(text, sizeof text, "%s one\n", a);
    file("list", text, 0644);
    assert_false(weir_curve_list_has(list, two.public_key, NULL));
    weir_log_level_min = WEIR_LOG_ERROR;
    file("list", "garbage\n", 0644); /* a slip: what was in force stays so */
    assert_true(weir_curve_list_has(list, one.public_key, NULL));
    unlink(path);
    assert_true(weir_curve_list_has(list, one.public_key, NULL));
    weir_log_level_min = WEIR_LOG_INFO;
    file("list", "", 0644); /* nobody */
    assert_false(weir_curve_list_has(list, one.public_key, NULL));
    weir_curve_list_free(list);
    assert_int_equal(weir_curve_list_open("k", file("list", "12 name\n", 0644), &list, &error), WEIR_ERR_INVALID);
}

#define T1 "1111111111111111111111111111111111111111111111111111111111111111"
#define T2 "2222222222222222222222222222222222222222222222222222222222222222"
#define T3 "3333333333333333333333333333333333333333333333333333333333333333"

static void token_files(void **state)
{
    (void)state;
    struct weir_tokens *tokens = NULL;
    const char *path = file("tokens", "# roles\nread " T1 "\n\tsubmit\t" T2 "\r\n" T3 "\n", 0600);
    assert_int_equal(weir_tokens_open("k", path, &tokens, &error), 0);
    assert_int_equal(weir_tokens_role(tokens, "Bearer " T1), WEIR_ROLE_READ);
    assert_int_equal(weir_tokens_role(tokens, "bearer   " T2 " "), WEIR_ROLE_SUBMIT);
    assert_int_equal(weir_tokens_role(tokens, "Bearer " T3), WEIR_ROLE_ADMIN);
    static const char *const wrong[] = {NULL, "",          "Bearer",         "Bearer ",
                                        T3,   "Basic " T3, "Bearer " T3 "3", "Bearer 3333"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(weir_tokens_role(tokens, wrong[i]), WEIR_ROLE_NONE);
    weir_tokens_close(tokens);
    char *token = NULL;
    assert_int_equal(weir_token_read("k", path, &token, &error), 0);
    assert_string_equal(token, T1);
    weir_secret_free(token);
    static const char *const broken[] = {"",      "# nothing\n", "short\n", "owner " T1 "\n", "read submit " T1 "\n",
                                         T1 "x\n"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
        assert_int_equal(weir_tokens_open("k", file("tokens", broken[i], 0600), &tokens, &error), WEIR_ERR_INVALID);
    assert_int_equal(weir_tokens_open("k", file("tokens", "owner " T1 "\n", 0600), &tokens, &error), WEIR_ERR_INVALID);
    assert_null(strstr(error.message, "1111"));
}

static void addresses(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"tcp://127.0.0.1:6123", "tcp://127.0.0.1:6123"},
                                           {"tcp://[::1]:*", "tcp://[::1]:*"},
                                           {"tcp://*:5", "tcp://*:5"},
                                           {"inproc://x", "inproc://x"}};
    char out[256];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(weir_bind_endpoint(cases[i][0], out, &error), 0);
        assert_string_equal(out, cases[i][1]);
    }
    assert_int_equal(weir_bind_endpoint("tcp://localhost:7", out, &error), 0);
    assert_true(strcmp(out, "tcp://127.0.0.1:7") == 0 || strcmp(out, "tcp://[::1]:7") == 0);
    assert_int_equal(weir_bind_endpoint("tcp://no.such.host.invalid:7", out, &error), WEIR_ERR_INVALID);
}

/* --- The control line */

struct seen {
    bool connected, refused, heard;
    char client_text[WEIR_LINE_TEXT_SIZE], server_text[WEIR_LINE_TEXT_SIZE];
};

static void take(struct weir_line *line, bool server, struct seen *seen)
{
    struct weir_line_event e;
    while (weir_line_next(line, &e)) {
        if (e.kind == WEIR_LINE_CONNECTED) {
            Weir__Control control = WEIR__CONTROL__INIT;
            control.version = 1;
            seen->connected = true;
            weir_line_send(line, NULL, &control);
        } else if (e.kind == WEIR_LINE_MESSAGE) {
            seen->heard |= server;
            weir__control__free_unpacked(e.control, NULL);
        } else if (e.kind == WEIR_LINE_REFUSED) {
            seen->refused = true;
            snprintf(seen->server_text, sizeof seen->server_text, "%s", e.text);
        } else if (e.text[0]) {
            snprintf(seen->client_text, sizeof seen->client_text, "%s", e.text);
        }
    }
}

/* Until the message was heard, or both sides said why not. */
static struct seen meet(const struct weir_curve *server_curve, const struct weir_curve *client_curve)
{
    struct seen seen = {.connected = false};
    void *context = zmq_ctx_new(), *other = zmq_ctx_new();
    struct weir_line *server = NULL, *client = NULL;
    assert_int_equal(weir_line_serve(context, "tcp://127.0.0.1:0", server_curve, &server, &error), 0);
    assert_int_equal(weir_line_client(other, weir_line_endpoint(server), "tm", client_curve, &client, &error), 0);
    int patience = 1000;
    for (int i = 0; i < patience && !seen.heard && !(seen.client_text[0] && seen.server_text[0]); i++) {
        if (seen.client_text[0] && patience == 1000 && !(server_curve && server_curve->on && client_curve->on))
            patience =
                i + 20; /* where one has no keys, who hangs up first decides whether the server has anything to say */
        take(server, true, &seen);
        take(client, false, &seen);
        poll(NULL, 0, 10);
    }
    weir_line_close(client);
    weir_line_close(server);
    zmq_ctx_term(context);
    zmq_ctx_term(other);
    return seen;
}

static void control_line_keys(void **state)
{
    (void)state;
    struct weir_curve jobmanager = {.on = true}, taskmanager = {.on = true}, wrong_server, stranger,
                      none = {.on = false};
    char hex[65], text[200];
    assert_int_equal(weir_curve_pair_new(&jobmanager.own, &error), 0);
    assert_int_equal(weir_curve_pair_new(&taskmanager.own, &error), 0);
    memcpy(taskmanager.server_key, jobmanager.own.public_key, sizeof taskmanager.server_key);
    hex_of(taskmanager.own.public_key, hex);
    snprintf(text, sizeof text, "%s tm\n", hex);
    jobmanager.allowed_path = weir_strdup(file("allowed", text, 0644));

    struct seen seen = meet(&jobmanager, &taskmanager);
    assert_true(seen.heard && !seen.refused);
    seen = meet(NULL, &none);
    assert_true(seen.heard);

    stranger = taskmanager;
    assert_int_equal(weir_curve_pair_new(&stranger.own, &error), 0);
    hex_of(stranger.own.public_key, hex);
    seen = meet(&jobmanager, &stranger);
    assert_false(seen.heard);
    assert_non_null(strstr(seen.client_text, "refused this TaskManager's key"));
    assert_non_null(strstr(seen.server_text, hex)); /* which key to add, if it is one's own */

    wrong_server = taskmanager;
    memcpy(wrong_server.server_key, stranger.own.public_key, sizeof wrong_server.server_key);
    seen = meet(&jobmanager, &wrong_server);
    assert_false(seen.heard);
    assert_non_null(strstr(seen.client_text, "jobmanager-public-key-file"));
    assert_non_null(strstr(seen.server_text, "turned away"));

    seen = meet(&jobmanager, &none);
    assert_false(seen.heard);
    assert_non_null(strstr(seen.client_text, "CURVE keys"));
    seen = meet(&none, &taskmanager);
    assert_false(seen.heard);
    assert_true(seen.client_text[0]);
    free(jobmanager.allowed_path);
}

/* A key that is taken out of the list while its owner is connected is not heard any more. */
static void a_removed_key_falls_silent(void **state)
{
    (void)state;
    struct weir_curve jobmanager = {.on = true}, taskmanager = {.on = true};
    char hex[65], text[200];
    assert_int_equal(weir_curve_pair_new(&jobmanager.own, &error), 0);
    assert_int_equal(weir_curve_pair_new(&taskmanager.own, &error), 0);
    memcpy(taskmanager.server_key, jobmanager.own.public_key, sizeof taskmanager.server_key);
    hex_of(taskmanager.own.public_key, hex);
    snprintf(text, sizeof text, "%s tm\n", hex);
    jobmanager.allowed_path = weir_strdup(file("allowed", text, 0644));
    void *context = zmq_ctx_new();
    struct weir_line *server = NULL, *client = NULL;
    struct seen seen = {.connected = false};
    assert_int_equal(weir_line_serve(context, "tcp://127.0.0.1:0", &jobmanager, &server, &error), 0);
    assert_int_equal(weir_line_client(context, weir_line_endpoint(server), "tm", &taskmanager, &client, &error), 0);
    for (int i = 0; i < 1000 && !seen.heard; i++) {
        take(server, true, &seen);
        take(client, false, &seen);
        poll(NULL, 0, 10);
    }
    assert_true(seen.heard);
    file("allowed", "# nobody\n", 0644);
    seen.heard = false;
    Weir__Control control = WEIR__CONTROL__INIT;
    control.version = 1;
    for (int i = 0; i < 1000 && !seen.refused; i++) {
        weir_line_send(client, NULL, &control);
        take(server, true, &seen);
        poll(NULL, 0, 10);
    }
    assert_true(seen.refused);
    assert_false(seen.heard);
    assert_non_null(strstr(seen.server_text, "was removed"));
    weir_line_close(client);
    weir_line_close(server);
    zmq_ctx_term(context);
    free(jobmanager.allowed_path);
}

static int remove_directory(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

int main(void)
{
    if (!mkdtemp(directory))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_files),         cmocka_unit_test(lists_follow_their_file),
        cmocka_unit_test(token_files),       cmocka_unit_test(addresses),
        cmocka_unit_test(control_line_keys), cmocka_unit_test(a_removed_key_falls_silent),
    };
    return cmocka_run_group_tests(tests, NULL, remove_directory);
}
