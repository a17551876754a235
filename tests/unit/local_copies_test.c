/* Local copies of checkpoint objects: what is kept, what goes and when, what is found by the next executor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "executor/local_copies.h"
#include "taskmanager/io/local_state.h"

static char home[64];
static struct weir_local_copies *copies;

static void open_copies(int64_t size_max)
{
    struct weir_error error;
    char path[80];
    snprintf(path, sizeof path, "%s/j1", home);
    if (weir_local_copies_open(path, "j1", size_max, &copies, &error))
        fail_msg("%s", error.message);
}

static int setup(void **arg)
{
    (void)arg;
    strcpy(home, "/tmp/weir-local-XXXXXX");
    assert_non_null(mkdtemp(home));
    open_copies(1 << 20);
    return 0;
}

static int teardown(void **arg)
{
    (void)arg;
    weir_local_copies_unref(copies);
    weir_local_state_free(weir_local_state_new(home)); /* removes it */
    assert_int_equal(access(home, F_OK), -1);
    return 0;
}

static bool has(const char *object, const char *text)
{
    const uint8_t *bytes;
    void *base;
    int64_t length, size = (int64_t)strlen(text) - 2;
    if (!weir_local_copies_map(copies, object, 1, size, &bytes, &base, &length)) /* all but the first and last byte */
        return false;
    bool same = memcmp(bytes, text + 1, (size_t)size) == 0;
    assert_int_equal(length, size + 2);
    munmap(base, (size_t)length);
    assert_true(same);
    return true;
}

static void put(const char *object, const char *text)
{
    weir_local_copies_put(copies, object, text, (int64_t)strlen(text));
}

static void refer(uint32_t subtask, uint64_t checkpoint, const char *a, const char *b)
{
    const char *objects[] = {a, b};
    weir_local_copies_refer(copies, 1, subtask, checkpoint, objects, b ? 2 : 1);
}

static void what_only_older_checkpoints_need_goes(void **arg)
{
    (void)arg;
    put("jobs/j1/chk-1/1-0-1", "one of the first");
    put("jobs/j1/chk-1/1-0-1-run0", "two of the first");
    put("jobs/j1/chk-1/1-1-1", "of another subtask");
    put("jobs/j1/finished/0-0-1", "of a task that has finished");
    refer(0, 1, "jobs/j1/chk-1/1-0-1", "jobs/j1/chk-1/1-0-1-run0");
    refer(1, 1, "jobs/j1/chk-1/1-1-1", NULL);
    weir_local_copies_refer(copies, 0, 0, 0, (const char *[]){"jobs/j1/finished/0-0-1"}, 1);
    put("jobs/j1/chk-2/1-0-1", "of the second");
    refer(0, 2, "jobs/j1/chk-2/1-0-1", "jobs/j1/chk-1/1-0-1-run0");
    refer(1, 2, "jobs/j1/chk-1/1-1-1", NULL);
    put("jobs/j1/chk-3/1-0-1", "of the third, under way");
    weir_local_copies_complete(copies, 1);
    assert_true(has("jobs/j1/chk-1/1-0-1", "one of the first"));
    weir_local_copies_complete(copies, 2);
    assert_false(has("jobs/j1/chk-1/1-0-1", "one of the first"));
    assert_true(has("jobs/j1/chk-1/1-0-1-run0", "two of the first"));
    assert_true(has("jobs/j1/chk-1/1-1-1", "of another subtask"));
    assert_true(has("jobs/j1/chk-2/1-0-1", "of the second"));
    assert_true(has("jobs/j1/chk-3/1-0-1", "of the third, under way"));
    assert_true(has("jobs/j1/finished/0-0-1", "of a task that has finished"));
    weir_local_copies_complete(copies, 3); /* nobody said that anything belongs to it */
    assert_false(has("jobs/j1/chk-2/1-0-1", "of the second"));
    assert_false(has("jobs/j1/chk-3/1-0-1", "of the third, under way"));
    assert_true(has("jobs/j1/finished/0-0-1", "of a task that has finished"));
}

static void what_a_savepoint_builds_on_stays(void **arg)
{
    (void)arg;
    put("jobs/j1/chk-1/1-0-1", "of the first");
    refer(0, 1, "jobs/j1/chk-1/1-0-1", NULL);
    weir_local_copies_complete(copies, 1);
    weir_local_copies_savepoint(copies, 2);
    weir_local_copies_complete(copies, 2);
    assert_true(has("jobs/j1/chk-1/1-0-1", "of the first"));
}

static void the_next_executor_finds_them(void **arg)
{
    (void)arg;
    put("jobs/j1/chk-4/1-0-1", "of the fourth");
    put("jobs/j1/chk-5/1-0-1", "of the fifth, which nobody needs");
    int fd = weir_local_copies_create(copies, "jobs/j1/chk-5/1-0-1-run0", 100);
    assert_true(fd >= 0);
    close(fd); /* as if it had been killed */
    weir_local_copies_unref(copies);
    open_copies(1 << 20);
    assert_true(has("jobs/j1/chk-4/1-0-1", "of the fourth"));
    char path[128];
    snprintf(path, sizeof path, "%s/j1/.chk-5+1-0-1-run0", home);
    assert_int_equal(access(path, F_OK), -1);
    refer(0, 4, "jobs/j1/chk-4/1-0-1", NULL);
    put("jobs/j1/chk-6/1-0-2", "of the sixth");
    refer(0, 6, "jobs/j1/chk-4/1-0-1", "jobs/j1/chk-6/1-0-2");
    weir_local_copies_complete(copies, 6);
    assert_true(has("jobs/j1/chk-4/1-0-1", "of the fourth"));
    assert_true(has("jobs/j1/chk-6/1-0-2", "of the sixth"));
    assert_false(has("jobs/j1/chk-5/1-0-1", "of the fifth, which nobody needs"));
}

static void they_are_bounded(void **arg)
{
    (void)arg;
    weir_local_copies_unref(copies);
    open_copies(40);
    put("jobs/j1/chk-1/1-0-1", "twenty-five bytes in here");
    put("jobs/j1/chk-2/1-0-1", "these would be too many");
    put("jobs/j1/chk-2/1-1-1", "these fit");
    assert_true(has("jobs/j1/chk-1/1-0-1", "twenty-five bytes in here"));
    assert_false(has("jobs/j1/chk-2/1-0-1", "these would be too many"));
    assert_true(has("jobs/j1/chk-2/1-1-1", "these fit"));
    weir_local_copies_forget(copies, "jobs/j1/chk-1/1-0-1"); /* it was damaged */
    assert_false(has("jobs/j1/chk-1/1-0-1", "twenty-five bytes in here"));
    put("jobs/j1/chk-2/1-0-1", "these would be too many");
    assert_true(has("jobs/j1/chk-2/1-0-1", "these would be too many"));
    int fd = weir_local_copies_create(copies, "jobs/j1/chk-3/1-0-1", 8);
    assert_true(fd >= 0);
    weir_local_copies_drop(copies, "jobs/j1/chk-3/1-0-1", 8, fd); /* gives its room back */
    put("jobs/j1/chk-3/1-0-1", "eight...");
    assert_true(has("jobs/j1/chk-3/1-0-1", "eight..."));
}

static void a_file_that_is_too_short_is_none(void **arg)
{
    (void)arg;
    put("jobs/j1/chk-1/1-0-1", "as long as it was written");
    char path[128];
    snprintf(path, sizeof path, "%s/j1/chk-1+1-0-1", home);
    assert_int_equal(truncate(path, 10), 0);
    assert_false(has("jobs/j1/chk-1/1-0-1", "as long as it was written"));
    assert_false(has("jobs/j1/chk-7/1-0-1", "never written"));
}

/* Else the second would empty the first's file under it. */
static void one_at_a_time_writes_a_copy(void **arg)
{
    (void)arg;
    static const char object[] = "jobs/j1/chk-1/restored-1", text[] = "of two subtasks";
    int first = weir_local_copies_create(copies, object, sizeof text - 1);
    assert_int_equal(write(first, text, sizeof text - 1), sizeof text - 1);
    assert_int_equal(weir_local_copies_create(copies, object, sizeof text - 1), -1);
    weir_local_copies_keep(copies, object, sizeof text - 1, first);
    assert_true(has(object, text));
    first = weir_local_copies_create(copies, object, 5);
    assert_true(first >= 0);
    weir_local_copies_drop(copies, object, 5, first);
    first = weir_local_copies_create(copies, object, 5);
    assert_true(first >= 0);
    weir_local_copies_drop(copies, object, 5, first);
    assert_true(has(object, text));
}

static void names_of_others_are_not_copied(void **arg)
{
    (void)arg;
    put("jobs/j2/chk-1/1-0-1", "of another job");
    put("jobs/j1/../j2/x", "elsewhere");
    assert_false(has("jobs/j2/chk-1/1-0-1", "of another job"));
    assert_false(has("jobs/j1/../j2/x", "elsewhere"));
}

static bool there(const char *job)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", home, job);
    return access(path, F_OK) == 0;
}

static void a_jobs_copies_go_when_it_does_not_come_back(void **arg)
{
    (void)arg;
    char path[128];
    weir_local_copies_unref(copies);
    struct weir_local_state *local = weir_local_state_new(home);
    assert_false(there("j1")); /* an earlier TaskManager's */
    open_copies(1 << 20);
    put("jobs/j1/chk-1/1-0-1", "of the first");
    snprintf(path, sizeof path, "%s/j2", home);
    struct weir_local_copies *others;
    struct weir_error error;
    assert_int_equal(weir_local_copies_open(path, "j2", 1 << 20, &others, &error), WEIR_OK);
    weir_local_state_used(local, "j1");
    weir_local_state_used(local, "j2");
    weir_local_state_unused(local, "j1", 1000);
    weir_local_state_unused(local, "j2", 2000);
    weir_local_state_used(local, "j1"); /* its next executor */
    weir_local_state_timers(local, 1000 + 60000);
    assert_true(there("j1") && there("j2"));
    weir_local_state_timers(local, 2000 + 60000);
    assert_true(there("j1"));
    assert_false(there("j2"));
    weir_local_state_unused(local, "j1", 70000);
    weir_local_state_timers(local, 70000 + 60000);
    assert_false(there("j1"));
    weir_local_copies_unref(others);
    weir_local_state_free(local);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_only_older_checkpoints_need_goes), TEST(what_a_savepoint_builds_on_stays),
        TEST(the_next_executor_finds_them),          TEST(they_are_bounded),
        TEST(a_file_that_is_too_short_is_none),      TEST(one_at_a_time_writes_a_copy),
        TEST(names_of_others_are_not_copied),        TEST(a_jobs_copies_go_when_it_does_not_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
