#include "jobmanager/io/faults.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/proto_memory.h"

#define PEERS_MAX 256
#define ARMS_MAX 64

struct peer {
    char id[WEIR_PEER_ID_SIZE];
    Weir__Control *last; /* its counts; NULL: none came */
};

struct arm {
    char point[96], action[24];
    uint64_t id;
};

struct weir_jm_faults {
    pthread_mutex_t lock;
    struct peer peers[PEERS_MAX];
    int peer_count;
    struct arm arms[ARMS_MAX]; /* the oldest first */
    int arm_count;
    bool unsent; /* some peer lacks some arm: all get all, a repeat does nothing */
};

struct weir_jm_faults *weir_jm_faults_new(void)
{
    struct weir_jm_faults *faults = weir_zalloc(sizeof *faults);
    pthread_mutex_init(&faults->lock, NULL);
    return faults;
}

static void free_counts(struct peer *peer)
{
    if (peer->last)
        weir__control__free_unpacked(peer->last, NULL);
    peer->last = NULL;
}

void weir_jm_faults_free(struct weir_jm_faults *faults)
{
    for (int i = 0; i < faults->peer_count; i++)
        free_counts(&faults->peers[i]);
    pthread_mutex_destroy(&faults->lock);
    free(faults);
}

/* --- Asked by REST */

weir_err weir_jm_faults_arm(struct weir_jm_faults *faults, const char *point, const char *action,
                            struct weir_error *error)
{
    struct arm arm = {.id = (uint64_t)weir_clock_wall_ns()};
    weir_err err = *action ? weir_fault_arm(point, action, arm.id, error) : weir_fault_reset(arm.id, error);
    if (err)
        return err;
    snprintf(arm.point, sizeof arm.point, "%s", point);
    snprintf(arm.action, sizeof arm.action, "%s", action);
    pthread_mutex_lock(&faults->lock);
    if (!*action)
        faults->arm_count = 0;
    if (faults->arm_count == ARMS_MAX)
        memmove(faults->arms, faults->arms + 1, (size_t)--faults->arm_count * sizeof arm);
    faults->arms[faults->arm_count++] = arm;
    faults->unsent = true;
    pthread_mutex_unlock(&faults->lock);
    return WEIR_OK;
}

static void add_counts(const struct peer *peer, struct weir_arena *arena, struct weir_view_fault *list, int *count)
{
    const Weir__Fault *fault = peer->last->fault;
    struct weir_view_fault *at = &list[*count];
    for (int i = 0; weir_fault_get(i, &at->state); i++)
        for (size_t p = 0; p < fault->n_points; p++) {
            const Weir__FaultPoint *point = fault->points[p];
            if (strcmp(point->name, at->state.name) != 0)
                continue;
            at->taskmanager = weir_arena_strdup(arena, peer->id);
            at->state.passes = point->passes;
            at->state.left = point->left;
            at->state.acted = point->acted;
            at->state.pid = point->pid;
            snprintf(at->state.action, sizeof at->state.action, "%s", point->action);
            at = &list[++*count];
            break;
        }
}

/* TaskManagers that share a table are one. */
static bool is_first_of_table(const struct weir_jm_faults *faults, int index)
{
    uint64_t id = faults->peers[index].last->fault->table;
    for (int i = 0; i < index; i++)
        if (faults->peers[i].last && faults->peers[i].last->fault->table == id)
            return false;
    return id != weir_fault_table_id();
}

void weir_jm_faults_list(struct weir_jm_faults *faults, struct weir_arena *arena, const struct weir_view_fault **out,
                         int *count)
{
    struct weir_fault_state state;
    int points = 0;
    while (weir_fault_get(points, &state))
        points++;
    pthread_mutex_lock(&faults->lock);
    struct weir_view_fault *list =
        weir_arena_zalloc(arena, (size_t)(points + 1) * (size_t)(faults->peer_count + 1) * sizeof *list);
    for (*count = 0; *count < points; ++*count) {
        (void)weir_fault_get(*count, &list[*count].state);
        list[*count].taskmanager = "";
    }
    for (int i = 0; i < faults->peer_count; i++)
        if (faults->peers[i].last && is_first_of_table(faults, i))
            add_counts(&faults->peers[i], arena, list, count);
    pthread_mutex_unlock(&faults->lock);
    *out = list;
}

/* --- The loop */

static struct peer *find_peer(struct weir_jm_faults *faults, const char *id)
{
    for (int i = 0; i < faults->peer_count; i++)
        if (strcmp(faults->peers[i].id, id) == 0)
            return &faults->peers[i];
    return NULL;
}

static void take_message(struct weir_jm_faults *faults, const struct weir_line_event *event)
{
    struct peer *peer = find_peer(faults, event->peer);
    bool registers = event->control->body_case == WEIR__CONTROL__BODY_REGISTER;
    if (!peer && registers && faults->peer_count < PEERS_MAX) {
        peer = &faults->peers[faults->peer_count++];
        *peer = (struct peer){.last = NULL};
        snprintf(peer->id, sizeof peer->id, "%s", event->peer);
    }
    faults->unsent |= registers;
    if (!peer || event->control->body_case != WEIR__CONTROL__BODY_FAULT)
        return;
    free_counts(peer);
    size_t size = weir__control__get_packed_size(event->control);
    uint8_t *bytes = weir_alloc(size);
    weir__control__pack(event->control, bytes);
    peer->last = weir__control__unpack(&weir_proto_memory, size, bytes);
    free(bytes);
}

void weir_jm_faults_event(struct weir_jm_faults *faults, const struct weir_line_event *event)
{
    if (!weir_fault_table_id())
        return;
    pthread_mutex_lock(&faults->lock);
    struct peer *peer = event->kind == WEIR_LINE_DISCONNECTED ? find_peer(faults, event->peer) : NULL;
    if (peer) {
        free_counts(peer);
        *peer = faults->peers[--faults->peer_count];
    } else if (event->kind == WEIR_LINE_MESSAGE && event->control) {
        take_message(faults, event);
    }
    pthread_mutex_unlock(&faults->lock);
}

bool weir_jm_faults_send(struct weir_jm_faults *faults, struct weir_line *line)
{
    pthread_mutex_lock(&faults->lock);
    bool any = faults->unsent && faults->arm_count > 0;
    for (int a = 0; a < faults->arm_count && faults->unsent; a++)
        for (int i = 0; i < faults->peer_count; i++) {
            Weir__Fault fault = WEIR__FAULT__INIT;
            Weir__Control control = WEIR__CONTROL__INIT;
            fault.point = faults->arms[a].point;
            fault.action = faults->arms[a].action;
            fault.id = faults->arms[a].id;
            control.version = 1;
            control.body_case = WEIR__CONTROL__BODY_FAULT;
            control.fault = &fault;
            if (!weir_line_send(line, faults->peers[i].id, &control))
                weir_log(WARN, "%s does not hear which fault points are armed", faults->peers[i].id);
        }
    faults->unsent = false;
    pthread_mutex_unlock(&faults->lock);
    return any;
}

void weir_jm_faults_at(const Weir__Control *control, bool in, bool after)
{
    if (!in && control->body_case == WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT)
        (void)weir_fault(after ? "jobmanager.trigger-sent" : "jobmanager.trigger-send");
    else if (!in && control->body_case == WEIR__CONTROL__BODY_COMMIT_OUTPUT)
        (void)weir_fault(after ? "jobmanager.commit-sent" : "jobmanager.commit-send");
    else if (!in && !after && control->body_case == WEIR__CONTROL__BODY_DEPLOY_TASKS)
        (void)weir_fault("jobmanager.deploy-send");
    else if (in && control->body_case == WEIR__CONTROL__BODY_CHECKPOINT_REPORT)
        (void)weir_fault(after ? "jobmanager.report-counted" : "jobmanager.report-received");
    else if (in && !after && control->body_case == WEIR__CONTROL__BODY_COMMIT_DONE)
        (void)weir_fault("jobmanager.commit-done");
}
