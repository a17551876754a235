/* Control group limits from files as containers of both versions show them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/daemon.h"
#include "base/limits.h"
#include "base/mem.h"

static char root[] = "/tmp/weir-limits-XXXXXX";
static struct weir_limits limits;

static void put(const char *path, const char *text)
{
    struct weir_error error;
    char *full = weir_format("%s/%s", root, path);
    char *slash = strrchr(full, '/');
    *slash = 0;
    assert_int_equal(weir_make_directories(full, &error), 0);
    *slash = '/';
    FILE *file = fopen(full, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    free(full);
}

static int fresh(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", root);
    assert_int_equal(system(command), 0);
    assert_int_equal(mkdir(root, 0700), 0);
    return 0;
}

#define V2_MOUNT "30 24 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n"

static void version_2_in_a_container(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/\n");
    put("proc/self/mountinfo", "21 1 0:5 / /dev rw - devtmpfs dev rw\n" V2_MOUNT);
    put("sys/fs/cgroup/memory.max", "268435456\n");
    put("sys/fs/cgroup/memory.high", "max\n");
    put("sys/fs/cgroup/memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 7\n");
    put("sys/fs/cgroup/cpu.max", "50000 100000\n");
    weir_limits_read(root, &limits);
    assert_int_equal(limits.memory_max, 268435456);
    assert_int_equal(limits.memory_bytes, 268435456);
    assert_int_equal(limits.oom_kill_count, 2);
    assert_int_equal(limits.cpu_count, 1);
}

static void version_2_on_a_host_follows_the_path_and_takes_the_smallest(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/weir.slice/weir-taskmanager.service\n");
    put("proc/self/mountinfo", V2_MOUNT);
    put("sys/fs/cgroup/weir.slice/memory.max", "500000000\n");
    put("sys/fs/cgroup/weir.slice/weir-taskmanager.service/memory.max", "max\n");
    put("sys/fs/cgroup/weir.slice/weir-taskmanager.service/memory.high", "600000000\n");
    put("sys/fs/cgroup/weir.slice/cpu.max", "100000 100000\n");
    weir_limits_read(root, &limits);
    assert_int_equal(limits.memory_max, 500000000);
    assert_int_equal(limits.cpu_count, 1);
    put("sys/fs/cgroup/weir.slice/weir-taskmanager.service/memory.high", "400000000\n");
    weir_limits_read(root, &limits);
    assert_int_equal(limits.memory_max, 400000000);
}

#define V1_MOUNTS(part) \
    "31 30 0:27 " part " /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n" \
    "32 30 0:28 " part " /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"

/* The path is the host's, the mounts show the container's own group. */
static void version_1_in_a_container(void **state)
{
    (void)state;
    put("proc/self/cgroup", "5:cpu,cpuacct:/docker/ab12\n4:memory:/docker/ab12\n1:name=systemd:/docker/ab12\n0::/\n");
    put("proc/self/mountinfo", V1_MOUNTS("/docker/ab12"));
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n");
    put("sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n");
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n");
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    weir_limits_read(root, &limits);
    assert_int_equal(limits.memory_max, 134217728);
    assert_int_equal(limits.oom_kill_count, 5);
    assert_int_equal(limits.cpu_count, 1);
}

/* A pod's limit lies above its container's group, which is all that is mounted. */
static void version_1_sees_the_pods_limit(void **state)
{
    (void)state;
    put("proc/self/cgroup", "4:memory:/kubepods/pod1/c1\n");
    put("proc/self/mountinfo", V1_MOUNTS("/kubepods/pod1/c1"));
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/memory/memory.stat", "cache 0\nhierarchical_memory_limit 200000000\ntotal_cache 0\n");
    weir_limits_read(root, &limits);
    assert_int_equal(limits.memory_max, 200000000);
}

static void a_path_from_another_namespace_means_the_mount(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/../../other\n");
    put("proc/self/mountinfo", V2_MOUNT);
    put("sys/fs/cgroup/memory.max", "300000000\n");
    weir_limits_read(root, &limits);
    assert_int_equal(limits.memory_max, 300000000);
    put("proc/self/cgroup", "0::/not/mounted/here\n");
    weir_limits_read(root, &limits);
    assert_int_equal(limits.memory_max, 300000000);
}

static void mount_points_with_blanks(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/\n");
    put("proc/self/mountinfo", "30 24 0:26 / /my\\040cgroup ro - cgroup2 cgroup rw\n");
    put("my cgroup/memory.max", "300000000\n");
    weir_limits_read(root, &limits);
    assert_int_equal(limits.memory_max, 300000000);
}

static void without_limits_it_is_the_machine(void **state)
{
    (void)state;
    int64_t machine = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
    weir_limits_read(root, &limits); /* no file at all */
    assert_int_equal(limits.memory_max, 0);
    assert_int_equal(limits.memory_bytes, machine);
    assert_true(limits.cpu_count >= 1);
    put("proc/self/cgroup", "0::/\n");
    put("proc/self/mountinfo", V2_MOUNT);
    put("sys/fs/cgroup/memory.max", "max\n");
    put("sys/fs/cgroup/cpu.max", "max 100000\n");
    weir_limits_read(root, &limits);
    assert_int_equal(limits.memory_max, 0);
    put("sys/fs/cgroup/memory.max", "9000000000000000\n"); /* more than there is */
    weir_limits_read(root, &limits);
    assert_int_equal(limits.memory_max, 0);
    assert_int_equal(limits.memory_bytes, machine);
}

static void nonsense_is_no_limit(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n", "x", "-1\n", "0\n", "99999999999999999999999\n", "max max max"};
    put("proc/self/cgroup", "::\n\n:\n0::/\nxyz\n4:memory\n");
    put("proc/self/mountinfo", "\n - \n - cgroup2\n1 2 - cgroup2 a b\n" V2_MOUNT);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put("sys/fs/cgroup/memory.max", texts[i]);
        put("sys/fs/cgroup/cpu.max", texts[i]);
        put("sys/fs/cgroup/memory.events", texts[i]);
        weir_limits_read(root, &limits);
        assert_int_equal(limits.memory_max, 0);
        assert_int_equal(limits.oom_kill_count, 0);
        assert_true(limits.cpu_count >= 1);
    }
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : 1;
}

static int teardown(void **state)
{
    fresh(state);
    return rmdir(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(version_2_in_a_container, fresh),
        cmocka_unit_test_setup(version_2_on_a_host_follows_the_path_and_takes_the_smallest, fresh),
        cmocka_unit_test_setup(version_1_in_a_container, fresh),
        cmocka_unit_test_setup(version_1_sees_the_pods_limit, fresh),
        cmocka_unit_test_setup(a_path_from_another_namespace_means_the_mount, fresh),
        cmocka_unit_test_setup(mount_points_with_blanks, fresh),
        cmocka_unit_test_setup(without_limits_it_is_the_machine, fresh),
        cmocka_unit_test_setup(nonsense_is_no_limit, fresh),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
