/* Time zones (zone.h): the rules of a zone are the changes of its offset, from a TZif file (RFC 8536, version 2: 64-bit times).
 * What comes after a file's last change keeps the last offset but for the rule in its footer, which is not read: files that end
 * before 2037 ("slim" ones) are refused to nobody, and are right up to their last change.
 *
 * Any thread may ask; zones are made under a lock and never freed: there are few names.
 */
#include "base/zone.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

#define FILE_SIZE_MAX ((size_t)256 << 10)
#define NAME_MAX_SIZE 64
#define ZONES_MAX 1024
#define OFFSET_MAX_S (18 * 3600)

struct zone {
    char name[NAME_MAX_SIZE];
    int count;
    int64_t *at_s;     /* when the offset changes, ascending */
    int32_t *offset_s; /* to what */
    int32_t first_s;   /* before all of them */
};

static struct zone *zones[ZONES_MAX];
static int zone_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const struct zone utc = {.name = "UTC"};
static const struct zone *session = &utc;

/* --- TZif */

static int64_t get_be(const uint8_t *bytes, int size)
{
    uint64_t value = bytes[0] & 0x80 ? ~(uint64_t)0 : 0;
    for (int i = 0; i < size; i++)
        value = value << 8 | bytes[i];
    return (int64_t)value;
}

struct counts {
    size_t isut, isstd, leap, time, type, chars;
};

/* The header at *at; false: it is none, or what it announces does not lie before `end`. */
static bool take_header(const uint8_t **at, const uint8_t *end, size_t time_size, struct counts *counts)
{
    if (end - *at < 44 || memcmp(*at, "TZif", 4) != 0)
        return false;
    size_t *fields[] = {&counts->isut, &counts->isstd, &counts->leap, &counts->time, &counts->type, &counts->chars};
    for (int i = 0; i < 6; i++) {
        *fields[i] = (size_t)get_be(*at + 20 + 4 * i, 4);
        if (*fields[i] > FILE_SIZE_MAX)
            return false;
    }
    *at += 44;
    size_t size = counts->time * (time_size + 1) + counts->type * 6 + counts->chars + counts->leap * (time_size + 4) +
                  counts->isstd + counts->isut;
    return size <= (size_t)(end - *at);
}

static bool parse_file(const uint8_t *bytes, size_t size, struct zone *zone)
{
    const uint8_t *at = bytes, *end = bytes + size;
    struct counts counts;
    if (!take_header(&at, end, 4, &counts) || bytes[4] < '2')
        return false;
    at += counts.time * 5 + counts.type * 6 + counts.chars + counts.leap * 8 + counts.isstd + counts.isut;
    if (!take_header(&at, end, 8, &counts) || counts.type == 0)
        return false;
    const uint8_t *types = at + counts.time * 9;
    zone->count = (int)counts.time;
    zone->at_s = weir_alloc((counts.time + 1) * sizeof *zone->at_s);
    zone->offset_s = weir_alloc((counts.time + 1) * sizeof *zone->offset_s);
    zone->first_s = (int32_t)get_be(types, 4);
    bool ok = abs(zone->first_s) <= 26 * 3600;
    for (size_t i = 0; i < counts.time && ok; i++) {
        size_t type = at[counts.time * 8 + i];
        if (type >= counts.type)
            return false;
        zone->at_s[i] = get_be(at + 8 * i, 8);
        zone->offset_s[i] = (int32_t)get_be(types + 6 * type, 4);
        ok = (i == 0 || zone->at_s[i] > zone->at_s[i - 1]) && zone->offset_s[i] <= 26 * 3600 &&
             zone->offset_s[i] >= -26 * 3600;
    }
    return ok;
}

static bool is_name(const char *name)
{
    for (const char *p = name; *p; p++) {
        if (!isalnum((unsigned char)*p) && !strchr("/_+-", *p))
            return false;
    }
    return name[0] && name[0] != '/' && strlen(name) < NAME_MAX_SIZE;
}

static bool read_file(const char *name, struct zone *zone)
{
    const char *folder = getenv("TZDIR");
    char path[512];
    if (!is_name(name))
        return false;
    snprintf(path, sizeof path, "%s/%s", folder && folder[0] ? folder : "/usr/share/zoneinfo", name);
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    uint8_t *bytes = weir_alloc(FILE_SIZE_MAX);
    size_t size = fread(bytes, 1, FILE_SIZE_MAX, file);
    fclose(file);
    bool ok = size < FILE_SIZE_MAX && parse_file(bytes, size, zone);
    free(bytes);
    return ok;
}

/* --- Names */

/* "+08:00", "UTC+8", "GMT-0330" -> seconds. */
static bool parse_offset(const char *name, int32_t *offset_s)
{
    if (strcasecmp(name, "UTC") == 0 || strcasecmp(name, "GMT") == 0 || strcasecmp(name, "Z") == 0) {
        *offset_s = 0;
        return true;
    }
    if (strncasecmp(name, "UTC", 3) == 0 || strncasecmp(name, "GMT", 3) == 0)
        name += 3;
    if (*name != '+' && *name != '-')
        return false;
    bool minus = *name++ == '-';
    int digits = 0, value = 0;
    bool colon = false;
    for (; *name; name++) {
        if (*name == ':' && !colon && digits > 0 && digits <= 2) {
            colon = true;
            value = digits == 1 ? value : value;
            digits = 2;
        } else if (isdigit((unsigned char)*name) && digits < 4) {
            value = value * 10 + (*name - '0');
            digits++;
        } else {
            return false;
        }
    }
    if (digits == 0 || digits == 3 || (colon && digits != 4))
        return false;
    int seconds = digits == 4 ? value / 100 * 3600 + value % 100 * 60 : value * 3600;
    if (seconds > OFFSET_MAX_S || (digits == 4 && value % 100 > 59))
        return false;
    *offset_s = minus ? -seconds : seconds;
    return true;
}

static const struct zone *find(const char *name)
{
    const struct zone *found = NULL;
    if (strlen(name) >= NAME_MAX_SIZE)
        return NULL;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < zone_count && !found; i++)
        found = strcmp(zones[i]->name, name) == 0 ? zones[i] : NULL;
    if (!found && zone_count < ZONES_MAX) {
        struct zone *zone = weir_zalloc(sizeof *zone);
        strcpy(zone->name, name);
        if (parse_offset(name, &zone->first_s) || read_file(name, zone)) {
            found = zones[zone_count++] = zone;
        } else {
            free(zone->at_s);
            free(zone->offset_s);
            free(zone);
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}

weir_err weir_zone_set_session(const char *name, struct weir_error *error)
{
    const struct zone *zone = strcmp(name, "default") == 0 ? &utc : find(name);
    if (!zone)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "'%.60s' is no time zone: write a name of the tz database (Europe/Berlin; the package tzdata "
                         "has it) or an offset (+02:00)",
                         name);
    session = zone;
    return WEIR_OK;
}

/* --- Times */

/* How many changes are at or before the moment. */
static int changes_before(const struct zone *zone, int64_t at_s)
{
    int low = 0, high = zone->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (zone->at_s[middle] <= at_s)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int64_t offset_at(const struct zone *zone, int64_t utc_ms)
{
    if (zone->count == 0)
        return zone->first_s;
    int64_t s = utc_ms / 1000 - (utc_ms % 1000 < 0);
    int changes = changes_before(zone, s);
    return changes == 0 ? zone->first_s : zone->offset_s[changes - 1];
}

static int64_t to_utc(const struct zone *zone, int64_t local_ms)
{
    /* The offset before any change that is near, and the one behind it. */
    int64_t before = offset_at(zone, local_ms - (int64_t)26 * 3600000),
            after = offset_at(zone, local_ms + (int64_t)26 * 3600000);
    int64_t early = local_ms - before * 1000, late = local_ms - after * 1000;
    if (before == after || offset_at(zone, early) == before)
        return early;
    if (offset_at(zone, late) == after)
        return late;
    return early; /* in a gap: java.time moves it forward by the gap's length */
}

int64_t weir_zone_to_local(int64_t utc_ms)
{
    return utc_ms + offset_at(session, utc_ms) * 1000;
}

int64_t weir_zone_to_utc(int64_t local_ms)
{
    return to_utc(session, local_ms);
}

bool weir_zone_named_to_utc(const char *name, int64_t *ms)
{
    const struct zone *zone = find(name);
    if (zone)
        *ms = to_utc(zone, *ms);
    return zone != NULL;
}
