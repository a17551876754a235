/* Control group limits.
 *
 * /proc/self/cgroup names this process's group, "ID:CONTROLLERS:PATH" a line (version 2: "0::PATH"); /proc/self/mountinfo says which part
 * of the hierarchy is mounted where. Inside a container the part is often the container's own group, and the path may be seen from
 * outside, from inside ("/") or from a sibling ("/../x"): what lies below the mounted part is followed, anything else is taken as the
 * mount point itself. A limit of any group on the way up counts, so all of them are read.
 */
#include "base/limits.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 4096
#define LINE_SIZE 8192
#define NO_LIMIT INT64_MAX
/* Version 1 says "none" by a number near 2^63, rounded down to pages. */
#define V1_NONE ((int64_t)1 << 60)

struct group {
    char mount[PATH_SIZE]; /* below `root` */
    char path[PATH_SIZE];  /* mount, and what follows it */
    bool v2;
};

/* --- Where */

/* "memory" in "cpu,memory,pids"? */
static bool names(const char *list, const char *word)
{
    size_t size = strlen(word);
    for (const char *p = list; *p;) {
        size_t part = strcspn(p, ",");
        if (part == size && strncmp(p, word, size) == 0)
            return true;
        p += part + (p[part] == ',');
    }
    return false;
}

/* The group's path in the hierarchy that has `controller`; version 1 wins where both are there, as the controller is in one only. */
static bool find_path(const char *root, const char *controller, char out[PATH_SIZE], bool *v2)
{
    char file_name[PATH_SIZE], line[LINE_SIZE];
    snprintf(file_name, sizeof file_name, "%.4000s/proc/self/cgroup", root);
    FILE *file = fopen(file_name, "re");
    bool found = false;
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = 0;
        controllers++;
        bool unified = *controllers == 0;
        if ((!unified && !names(controllers, controller)) || (unified && found))
            continue;
        snprintf(out, PATH_SIZE, "%.4000s", path);
        *v2 = unified;
        found = true;
        if (!unified)
            break;
    }
    if (file)
        fclose(file);
    return found;
}

/* mountinfo writes blanks, tabs, newlines and backslashes as \ooo. */
static void unescape(char *s)
{
    char *to = s;
    for (const char *from = s; *from; to++) {
        unsigned value;
        if (from[0] == '\\' && sscanf(from + 1, "%3o", &value) == 1) {
            *to = (char)value;
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = 0;
}

/* One line of mountinfo: the mounted part, where, and whether it is the hierarchy that has `controller`. */
static bool parse_mount(char *line, const char *controller, bool v2, char **part, char **where)
{
    char *save = NULL, *fields[6] = {0};
    char *dash = strstr(line, " - ");
    if (!dash)
        return false;
    *dash = 0;
    char *type = strtok_r(dash + 3, " \n", &save);
    char *source = type ? strtok_r(NULL, " \n", &save) : NULL;
    char *options = source ? strtok_r(NULL, " \n", &save) : NULL;
    if (!options || strcmp(type, v2 ? "cgroup2" : "cgroup") != 0 || (!v2 && !names(options, controller)))
        return false;
    fields[0] = strtok_r(line, " ", &save);
    for (int i = 1; i < 5 && fields[i - 1]; i++)
        fields[i] = strtok_r(NULL, " ", &save);
    if (!fields[3] || !fields[4])
        return false;
    unescape(fields[3]);
    unescape(fields[4]);
    *part = fields[3];
    *where = fields[4];
    return true;
}

static bool find_group(const char *root, const char *controller, struct group *group)
{
    char path[PATH_SIZE], file_name[PATH_SIZE], line[LINE_SIZE];
    if (!find_path(root, controller, path, &group->v2))
        return false;
    snprintf(file_name, sizeof file_name, "%.4000s/proc/self/mountinfo", root);
    FILE *file = fopen(file_name, "re");
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file)) {
        char *part, *where;
        if (!parse_mount(line, controller, group->v2, &part, &where))
            continue;
        size_t size = strcmp(part, "/") == 0 ? 0 : strlen(part);
        bool below = strncmp(path, part, size) == 0 && (path[size] == '/' || path[size] == 0);
        snprintf(group->mount, PATH_SIZE, "%.2000s%.2000s", root, where);
        snprintf(group->path, PATH_SIZE, "%.2000s%.2000s", group->mount,
                 below && !strstr(path, "/..") ? path + size : "");
        found = true;
    }
    if (file)
        fclose(file);
    if (!found)
        return false;
    for (size_t size = strlen(group->path); size && group->path[size - 1] == '/'; size--)
        group->path[size - 1] = 0;
    if (access(group->path, F_OK) != 0) /* seen from another namespace */
        snprintf(group->path, PATH_SIZE, "%s", group->mount);
    return true;
}

/* The next group up; false: that was the mount point. */
static bool go_up(struct group *group)
{
    char *slash = strrchr(group->path, '/');
    if (strlen(group->path) <= strlen(group->mount) || !slash)
        return false;
    *slash = 0;
    return true;
}

/* --- What */

/* A file's first line; false: it is not there. */
static bool read_line(const struct group *group, const char *name, char out[128])
{
    char path[PATH_SIZE + 64];
    snprintf(path, sizeof path, "%s/%s", group->path, name);
    FILE *file = fopen(path, "re");
    bool ok = file && fgets(out, 128, file);
    if (file)
        fclose(file);
    return ok;
}

/* The number in a file; NO_LIMIT: no file, "max", or version 1's word for it. */
static int64_t read_number(const struct group *group, const char *name)
{
    char text[128], *end;
    if (!read_line(group, name, text))
        return NO_LIMIT;
    errno = 0;
    int64_t value = strtoll(text, &end, 10);
    return end == text || errno || value <= 0 || (!group->v2 && value >= V1_NONE) ? NO_LIMIT : value;
}

/* The number behind a word in a file of "word number" lines; `fallback` where it is not. */
static int64_t read_entry(const struct group *group, const char *name, const char *word, int64_t fallback)
{
    char path[PATH_SIZE + 64], line[256];
    size_t size = strlen(word);
    int64_t value = fallback;
    snprintf(path, sizeof path, "%s/%s", group->path, name);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, word, size) == 0 && line[size] == ' ')
            value = strtoll(line + size, NULL, 10);
    if (file)
        fclose(file);
    return value;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void read_memory(const char *root, struct weir_limits *limits)
{
    struct group group;
    int64_t max = NO_LIMIT;
    if (!find_group(root, "memory", &group))
        return;
    limits->oom_kill_count = read_entry(&group, group.v2 ? "memory.events" : "memory.oom_control", "oom_kill", 0);
    if (!group.v2) { /* counts groups above what is mounted here, too */
        int64_t above = read_entry(&group, "memory.stat", "hierarchical_memory_limit", NO_LIMIT);
        max = above > 0 && above < V1_NONE ? above : NO_LIMIT;
    }
    do {
        if (group.v2) /* above memory.high the kernel takes pages away until nothing runs: a limit as well */
            max = smaller(max, smaller(read_number(&group, "memory.max"), read_number(&group, "memory.high")));
        else
            max = smaller(max, read_number(&group, "memory.limit_in_bytes"));
    } while (go_up(&group));
    limits->memory_max = max == NO_LIMIT ? 0 : max;
}

/* CPUs of the quota, rounded up; NO_LIMIT: none. */
static int64_t quota_of(const struct group *group)
{
    int64_t quota, period;
    if (group->v2) {
        char text[128];
        if (!read_line(group, "cpu.max", text) || sscanf(text, "%" SCNd64 " %" SCNd64, &quota, &period) != 2)
            return NO_LIMIT;
    } else {
        quota = read_number(group, "cpu.cfs_quota_us");
        period = read_number(group, "cpu.cfs_period_us");
        if (quota == NO_LIMIT || period == NO_LIMIT)
            return NO_LIMIT;
    }
    return quota > 0 && period > 0 ? quota / period + (quota % period != 0) : NO_LIMIT;
}

static int64_t read_quota(const char *root)
{
    struct group group;
    int64_t cpus = NO_LIMIT;
    if (!find_group(root, "cpu", &group))
        return NO_LIMIT;
    do
        cpus = smaller(cpus, quota_of(&group));
    while (go_up(&group));
    return cpus;
}

static int64_t affinity_count(void)
{
    cpu_set_t set;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    return online > 0 ? online : 1; /* more than 1,024 CPUs */
}

void weir_limits_read(const char *root, struct weir_limits *limits)
{
    int64_t machine = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
    *limits = (struct weir_limits){.memory_bytes = machine};
    read_memory(root, limits);
    if (limits->memory_max >= machine)
        limits->memory_max = 0;
    if (limits->memory_max)
        limits->memory_bytes = limits->memory_max;
    limits->cpu_count = (int)smaller(affinity_count(), read_quota(root));
    if (limits->cpu_count < 1)
        limits->cpu_count = 1;
}
