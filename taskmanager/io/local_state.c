#include "taskmanager/io/local_state.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "taskmanager/core/tm.h"

#define KEPT_MS 60000 /* a restart comes sooner */
#define JOBS_MAX 64   /* that are waited for; of more the one that waits longest goes */

struct unused_job {
    char id[WEIR_TM_JOB_ID_SIZE];
    int64_t until_ms;
};

struct weir_local_state {
    const char *directory;
    struct unused_job jobs[JOBS_MAX]; /* the longest first */
    int count;
};

/* Two levels: directories of jobs, files. */
static void remove_directory(const char *path, int depth)
{
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(dir), entry->d_name, 0) == 0 || depth == 0)
            continue;
        char *below = weir_format("%s/%s", path, entry->d_name);
        remove_directory(below, depth - 1);
        free(below);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

struct weir_local_state *weir_local_state_new(const char *directory)
{
    struct weir_local_state *local = weir_zalloc(sizeof *local);
    local->directory = directory;
    if (directory)
        remove_directory(directory, 1);
    return local;
}

void weir_local_state_free(struct weir_local_state *local)
{
    if (local->directory)
        remove_directory(local->directory, 1);
    free(local);
}

void weir_local_state_used(struct weir_local_state *local, const char *job_id)
{
    for (int i = 0; i < local->count; i++)
        if (strcmp(local->jobs[i].id, job_id) == 0) {
            memmove(&local->jobs[i], &local->jobs[i + 1], (size_t)(--local->count - i) * sizeof local->jobs[0]);
            return;
        }
}

static void remove_first(struct weir_local_state *local)
{
    char *path = weir_format("%s/%s", local->directory, local->jobs[0].id);
    remove_directory(path, 0);
    free(path);
    memmove(&local->jobs[0], &local->jobs[1], (size_t)--local->count * sizeof local->jobs[0]);
}

void weir_local_state_unused(struct weir_local_state *local, const char *job_id, int64_t now_ms)
{
    if (!local->directory || !*job_id || strchr(job_id, '/') || job_id[0] == '.')
        return;
    weir_local_state_used(local, job_id);
    if (local->count == JOBS_MAX)
        remove_first(local);
    struct unused_job *job = &local->jobs[local->count++];
    snprintf(job->id, sizeof job->id, "%s", job_id);
    job->until_ms = now_ms + KEPT_MS;
}

void weir_local_state_timers(struct weir_local_state *local, int64_t now_ms)
{
    while (local->count > 0 && local->jobs[0].until_ms <= now_ms)
        remove_first(local);
}
