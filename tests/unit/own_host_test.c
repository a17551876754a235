/* taskmanager.host: as given, found by itself, refused where others could not reach it. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "taskmanager/io/own_host.h"

static struct weir_error error;
static char host[WEIR_HOST_SIZE];

static weir_err own(const char *given, const char *bind_host, const char *peer)
{
    return weir_own_host(given, bind_host, peer, 6123, -1, host, &error);
}

static void a_given_host_is_kept(void **state)
{
    (void)state;
    assert_int_equal(own("10.0.0.7", "0.0.0.0", "jm"), 0);
    assert_string_equal(host, "10.0.0.7");
    assert_int_equal(own("tm-1.example", "::", "jm"), 0);
    assert_string_equal(host, "tm-1.example");
    assert_int_equal(own("127.0.0.1", "127.0.0.1", "jm"), 0);
    assert_int_equal(own("a-name", "127.0.0.1", "jm"), 0); /* with a warning: it may mean this host */
}

static void auto_is_the_address_towards_the_jobmanager(void **state)
{
    (void)state;
    assert_int_equal(own("auto", "127.0.0.1", "127.0.0.1"), 0);
    assert_string_equal(host, "127.0.0.1");
    assert_int_equal(own("auto", "0.0.0.0", "localhost"), 0);
    assert_true(strcmp(host, "127.0.0.1") == 0 || strcmp(host, "::1") == 0);
}

static void an_address_that_nobody_reaches_is_refused(void **state)
{
    (void)state;
    assert_int_equal(own("10.0.0.7", "127.0.0.1", "jm"), WEIR_ERR_INVALID);
    assert_non_null(strstr(error.message, "taskmanager.bind-host"));
    assert_int_equal(own("", "127.0.0.1", "jm"), WEIR_ERR_INVALID);
}

static void waiting_for_a_name_can_be_stopped(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    weir_err err = weir_own_host("auto", "0.0.0.0", "no-such-jobmanager.invalid", 6123, ends[0], host, &error);
    assert_int_equal(err, WEIR_ERR_NOT_FOUND);
    assert_non_null(strstr(error.message, "no-such-jobmanager.invalid"));
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_given_host_is_kept),
        cmocka_unit_test(auto_is_the_address_towards_the_jobmanager),
        cmocka_unit_test(an_address_that_nobody_reaches_is_refused),
        cmocka_unit_test(waiting_for_a_name_can_be_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
