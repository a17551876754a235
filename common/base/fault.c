/* Fault points: a table that the processes of a host share, used only while testing.fault-points is on. Any thread.
 *
 * The file: struct table, as the code has it. Its head tells which table of points it was made for; another one's is made anew. Arming holds
 * flock() of the file; passing takes no lock: `left` is the only word that both change, by compare-and-swap, and the action is written
 * before it.
 */
#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/fault_points.h"
#include "base/hash.h"
#include "base/log.h"

enum action { NONE, KILL, STOP, ERROR, DELAY };
static const char *const action_names[] = {"", "kill", "stop", "error", "delay"};

static const struct {
    const char *name;
    bool fails;
    const char *help;
} points[] = {
#define ENTRY(name, fails, help) {name, fails, help},
    WEIR_FAULT_POINTS(ENTRY)
#undef ENTRY
};
enum { POINT_COUNT = sizeof points / sizeof points[0] };

struct slot {
    _Atomic uint64_t passes, left, acted;
    _Atomic uint64_t arm_id;
    _Atomic uint32_t action;
    _Atomic int32_t delay_ms, pid;
};
struct table {
    uint64_t made_for; /* a hash of the points' names */
    uint64_t id;
    _Atomic uint64_t reset_id;
    struct slot slots[POINT_COUNT];
};

atomic_bool weir_fault_on;
static struct table *table;
static int table_fd = -1; /* -1: the table is this process's own */
static char role[32];

static uint64_t hash_of_points(void)
{
    uint64_t hash = sizeof(struct table);
    for (int i = 0; i < POINT_COUNT; i++)
        hash = hash * 31 + weir_xxh3(points[i].name, strlen(points[i].name));
    return hash;
}

static uint64_t new_id(void)
{
    uint64_t id = 0;
    if (getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id)
        id = (uint64_t)getpid() << 32 | (uint64_t)time(NULL);
    return id ? id : 1;
}

static void lock_table(void)
{
    while (table_fd >= 0 && flock(table_fd, LOCK_EX) != 0 && errno == EINTR)
        continue;
}

static void unlock_table(void)
{
    if (table_fd >= 0)
        (void)flock(table_fd, LOCK_UN);
}

weir_err weir_fault_enable(const char *path, const char *as, struct weir_error *error)
{
    weir_assert(!table);
    snprintf(role, sizeof role, "%s", as);
    if (path && (table_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0)
        return weir_fail_errno(error, WEIR_ERR_IO, "cannot open %s, where fault points are counted", path);
    lock_table();
    void *memory = MAP_FAILED;
    /* With its bytes on the disk: a full one would end whoever counts first. */
    if (!path || (errno = posix_fallocate(table_fd, 0, sizeof(struct table))) == 0)
        memory = mmap(NULL, sizeof(struct table), PROT_READ | PROT_WRITE,
                      path ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, table_fd, 0);
    if (memory == MAP_FAILED) {
        weir_err err = weir_fail_errno(error, WEIR_ERR_IO, "cannot make %s, where fault points are counted",
                                       path ? path : "memory");
        if (table_fd >= 0)
            close(table_fd);
        table_fd = -1;
        return err;
    }
    table = memory;
    if (table->made_for != hash_of_points()) {
        memset(table, 0, sizeof *table);
        table->made_for = hash_of_points();
        table->id = new_id();
    }
    unlock_table();
    atomic_store(&weir_fault_on, true);
    return WEIR_OK;
}

void weir_fault_disable(void)
{
    atomic_store(&weir_fault_on, false);
    if (table)
        munmap(table, sizeof *table);
    table = NULL;
    if (table_fd >= 0)
        close(table_fd);
    table_fd = -1;
}

static int find(const char *name, size_t size)
{
    for (int i = 0; i < POINT_COUNT; i++)
        if (strlen(points[i].name) == size && memcmp(points[i].name, name, size) == 0)
            return i;
    return -1;
}

/* True: this was the pass that it is armed for. */
static bool count_down(struct slot *slot)
{
    uint64_t left = atomic_load(&slot->left);
    while (left > 0 && !atomic_compare_exchange_weak(&slot->left, &left, left - 1))
        continue;
    return left == 1;
}

bool weir_fault_pass(const char *name)
{
    int index = find(name, strlen(name));
    weir_assert(index >= 0);
    struct slot *slot = &table->slots[index];
    atomic_fetch_add(&slot->passes, 1);
    if (!count_down(slot))
        return false;
    enum action action = atomic_load(&slot->action);
    int delay_ms = atomic_load(&slot->delay_ms);
    atomic_store(&slot->pid, (int32_t)getpid());
    atomic_fetch_add(&slot->acted, 1);
    weir_log(WARN, "fault point %s: %s", name, action_names[action]);
    if (action == KILL)
        kill(getpid(), SIGKILL);
    else if (action == STOP)
        kill(getpid(), SIGSTOP);
    else if (action == DELAY)
        nanosleep(&(struct timespec){delay_ms / 1000, (delay_ms % 1000) * 1000000L}, NULL);
    return action == ERROR;
}

bool weir_fault_pass_here(const char *step)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", role, step);
    return find(name, strlen(name)) >= 0 && weir_fault_pass(name);
}

/* --- Arming */

static weir_err no_such_point(const char *text, size_t size, struct weir_error *error)
{
    const char *nearest = NULL;
    size_t most = 0;
    for (int i = 0; i < POINT_COUNT; i++) { /* the longest common beginning, behind it the longest common end */
        const char *name = points[i].name;
        size_t same = 0, end = 0, length = strlen(name);
        while (same < size && same < length && name[same] == text[same])
            same++;
        while (end < size - same && end < length - same && name[length - 1 - end] == text[size - 1 - end])
            end++;
        if (same + end > most)
            most = same + end, nearest = name;
    }
    return weir_fail(error, WEIR_ERR_NOT_FOUND, "there is no fault point '%.*s'%s%s%s; weir fault list names them all",
                     (int)size, text, nearest ? "; do you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

static weir_err parse_action(const char *text, enum action *action, int *delay_ms, struct weir_error *error)
{
    *delay_ms = 0;
    for (*action = KILL; *action < DELAY; ++*action)
        if (strcmp(text, action_names[*action]) == 0)
            return WEIR_OK;
    char *end = NULL;
    long ms = strncmp(text, "delay=", 6) == 0 ? strtol(text + 6, &end, 10) : -1;
    if (!end || end == text + 6 || *end || ms < 0 || ms > 3600000)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "a fault point's action is kill, stop, error or delay=MS (at most 3600000), not '%s'", text);
    *delay_ms = (int)ms;
    return WEIR_OK;
}

static weir_err points_are_off(struct weir_error *error)
{
    return weir_fail(error, WEIR_ERR_INVALID,
                     "fault points are off: start the cluster with -D testing.fault-points=true");
}

weir_err weir_fault_arm(const char *text, const char *action_text, uint64_t id, struct weir_error *error)
{
    if (!atomic_load(&weir_fault_on))
        return points_are_off(error);
    const char *colon = strchr(text, ':');
    size_t size = colon ? (size_t)(colon - text) : strlen(text);
    uint64_t nth = 1;
    if (colon) {
        char *end = NULL;
        nth = strtoull(colon + 1, &end, 10);
        if (colon[1] < '1' || colon[1] > '9' || *end)
            return weir_fail(error, WEIR_ERR_INVALID, "fault point '%s': after the colon stands which pass, from 1",
                             text);
    }
    enum action action;
    int delay_ms, index = find(text, size);
    if (index < 0)
        return no_such_point(text, size, error);
    weir_err err = parse_action(action_text, &action, &delay_ms, error);
    if (err)
        return err;
    if (action == ERROR && !points[index].fails)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "nothing can fail at fault point '%s': kill, stop and delay=MS can be armed",
                         points[index].name);
    struct slot *slot = &table->slots[index];
    lock_table();
    if (id > atomic_load(&slot->arm_id) && id > atomic_load(&table->reset_id)) {
        atomic_store(&slot->left, 0);
        atomic_store(&slot->action, action);
        atomic_store(&slot->delay_ms, delay_ms);
        atomic_store(&slot->arm_id, id);
        atomic_store(&slot->left, nth);
    }
    unlock_table();
    return WEIR_OK;
}

weir_err weir_fault_reset(uint64_t id, struct weir_error *error)
{
    if (!atomic_load(&weir_fault_on))
        return points_are_off(error);
    lock_table();
    bool newer = id > atomic_load(&table->reset_id);
    if (newer)
        atomic_store(&table->reset_id, id);
    for (int i = 0; i < POINT_COUNT && newer; i++) {
        struct slot *slot = &table->slots[i];
        atomic_store(&slot->left, 0);
        atomic_store(&slot->passes, 0);
        atomic_store(&slot->acted, 0);
        atomic_store(&slot->pid, 0);
    }
    unlock_table();
    return WEIR_OK;
}

/* --- Looking */

bool weir_fault_get(int index, struct weir_fault_state *state)
{
    if (index < 0 || index >= POINT_COUNT)
        return false;
    *state =
        (struct weir_fault_state){.name = points[index].name, .help = points[index].help, .fails = points[index].fails};
    if (!atomic_load(&weir_fault_on))
        return true;
    struct slot *slot = &table->slots[index];
    state->passes = atomic_load(&slot->passes);
    state->left = atomic_load(&slot->left);
    state->acted = atomic_load(&slot->acted);
    state->pid = atomic_load(&slot->pid);
    enum action action = atomic_load(&slot->action);
    if (state->left && action == DELAY)
        snprintf(state->action, sizeof state->action, "delay=%d", (int)atomic_load(&slot->delay_ms));
    else if (state->left)
        snprintf(state->action, sizeof state->action, "%s", action_names[action]);
    return true;
}

uint64_t weir_fault_table_id(void)
{
    return atomic_load(&weir_fault_on) ? table->id : 0;
}
