/* Fault points: a small table under a lock, used only while testing.fault-points is on. Any thread. */
#include "base/fault.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum action { NONE, KILL, STOP, ERROR, DELAY };
static const char *const action_names[] = {"-", "kill", "stop", "error", "delay"};

struct point {
    char name[64];
    uint64_t passes;
    uint64_t left; /* passes until it acts; 0: not armed */
    enum action action;
    int delay_ms;
};

atomic_bool weir_fault_on;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct point points[WEIR_FAULT_POINTS_MAX];
static int point_count;

static struct point *find(const char *name, size_t size, bool create)
{
    for (int i = 0; i < point_count; i++)
        if (strlen(points[i].name) == size && !memcmp(points[i].name, name, size))
            return &points[i];
    if (!create || point_count == WEIR_FAULT_POINTS_MAX || size >= sizeof points[0].name)
        return NULL;
    struct point *point = &points[point_count++];
    memset(point, 0, sizeof *point);
    memcpy(point->name, name, size);
    return point;
}

void weir_fault_enable(bool on)
{
    pthread_mutex_lock(&lock);
    point_count = 0;
    atomic_store(&weir_fault_on, on);
    pthread_mutex_unlock(&lock);
}

bool weir_fault_pass(const char *name)
{
    enum action action = NONE;
    int delay_ms = 0;
    pthread_mutex_lock(&lock);
    struct point *point = find(name, strlen(name), true);
    if (point) {
        point->passes++;
        if (point->left && --point->left == 0) {
            action = point->action;
            delay_ms = point->delay_ms;
        }
    }
    pthread_mutex_unlock(&lock);
    switch (action) {
    case KILL:
        kill(getpid(), SIGKILL);
        break;
    case STOP:
        kill(getpid(), SIGSTOP);
        break;
    case DELAY: {
        struct timespec t = {delay_ms / 1000, (delay_ms % 1000) * 1000000L};
        nanosleep(&t, NULL);
        break;
    }
    case NONE:
    case ERROR:
        break;
    }
    return action == ERROR;
}

weir_err weir_fault_arm(const char *text, const char *action, struct weir_error *error)
{
    if (!atomic_load(&weir_fault_on))
        return weir_fail(error, WEIR_ERR_INVALID, "fault points are off; start with 'testing.fault-points: true'");
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
    if (!memchr(text, '.', size))
        return weir_fail(error, WEIR_ERR_INVALID, "fault point '%s': names are component.step", text);
    enum action parsed = NONE;
    int delay_ms = 0;
    if (!strcmp(action, "kill"))
        parsed = KILL;
    else if (!strcmp(action, "stop"))
        parsed = STOP;
    else if (!strcmp(action, "error"))
        parsed = ERROR;
    else if (!strncmp(action, "delay=", 6)) {
        char *end = NULL;
        long ms = strtol(action + 6, &end, 10);
        if (end != action + 6 && !*end && ms >= 0 && ms <= 3600000) {
            parsed = DELAY;
            delay_ms = (int)ms;
        }
    }
    if (parsed == NONE)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "fault point '%s': the action is kill, stop, error or delay=MS, not '%s'", text, action);
    weir_err err = WEIR_OK;
    pthread_mutex_lock(&lock);
    struct point *point = find(text, size, true);
    if (point) {
        point->left = nth;
        point->action = parsed;
        point->delay_ms = delay_ms;
    } else {
        err = weir_fail(error, WEIR_ERR_FULL, "fault point '%s': too many points, or the name is too long", text);
    }
    pthread_mutex_unlock(&lock);
    return err;
}

uint64_t weir_fault_passes(const char *name)
{
    pthread_mutex_lock(&lock);
    struct point *point = find(name, strlen(name), false);
    uint64_t passes = point ? point->passes : 0;
    pthread_mutex_unlock(&lock);
    return passes;
}

void weir_fault_print(struct weir_buf *out)
{
    pthread_mutex_lock(&lock);
    bool ok = true;
    for (int i = 0; ok && i < point_count; i++)
        ok = weir_buf_printf(out, "%s %llu %s\n", points[i].name, (unsigned long long)points[i].passes,
                             points[i].left ? action_names[points[i].action] : "-");
    pthread_mutex_unlock(&lock);
}
