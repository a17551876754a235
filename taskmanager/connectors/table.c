/* The connector table: the one place that names every connector of the tree. Adding one is its folder and a line here. Beside it, those
 * that the job's shared object brings. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "connectors/connectors_int.h"

const struct weir_connector *const weir_connectors[] = {
    &weir_connector_blackhole, &weir_connector_datagen, &weir_connector_filesystem, &weir_connector_host,
    &weir_connector_kafka,     &weir_connector_print,   &weir_connector_socket,     NULL,
};

/* --- Those of the job's shared object: copies, because an older object's struct is shorter. Written once, before any task is built. */

struct job_connectors {
    const struct weir_job_connectors *from;
    int count;
    struct weir_connector connectors[WEIR_CONNECTORS_MAX];
};
static _Atomic(struct job_connectors *) job_connectors;

static const struct weir_connector *find_in(const struct job_connectors *job, const char *name)
{
    for (int i = 0; weir_connectors[i]; i++)
        if (strcmp(weir_connectors[i]->name, name) == 0)
            return weir_connectors[i];
    for (int i = 0; job && i < job->count; i++)
        if (strcmp(job->connectors[i].name, name) == 0)
            return &job->connectors[i];
    return NULL;
}

/* What is missing in it, or NULL. */
static const char *what_is_wrong(const struct weir_connector *c)
{
    if (!c->source_options && !c->sink_options)
        return "it has neither source_options nor sink_options";
    if (c->source_options && (!c->reader_open || !(c->read || c->read_messages) || !c->reader_close))
        return "a source needs reader_open, read (or read_messages) and reader_close";
    if (c->read_messages && (c->read || c->enumerate))
        return "read_messages takes the place of read, and goes without enumerate";
    if (c->enumerate && (!c->source_options || !c->reader_split))
        return "enumerate needs source_options and reader_split";
    if (c->sink_options && (!c->writer_open || !(c->write || c->write_messages) || !c->writer_close))
        return "a sink needs writer_open, write (or write_messages) and writer_close";
    if (c->write && c->write_messages)
        return "write_messages takes the place of write";
    if (c->defers && !c->commit_messages)
        return "defers needs commit_messages";
    if (c->write_messages && !c->busy)
        return "write_messages needs busy";
    if (c->rows)
        return "rows is for connectors inside weir: leave it NULL";
    return NULL;
}

static weir_err add(struct job_connectors *job, const struct weir_connector *given, struct weir_error *error)
{
    struct weir_connector *into = &job->connectors[job->count];
    /* Up to `name`, a struct says what it is. */
    if (!given || given->size < offsetof(struct weir_connector, help) || given->size > sizeof *into)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "WEIR_CONNECTORS: connector %d has no .size = sizeof(struct weir_connector) of this version",
                         job->count + 1);
    memset(into, 0, sizeof *into);
    memcpy(into, given, given->size);
    if (!into->name || !into->name[0])
        return weir_fail(error, WEIR_ERR_INVALID, "WEIR_CONNECTORS: connector %d has no name", job->count + 1);
    const char *wrong = what_is_wrong(into);
    if (wrong)
        return weir_fail(error, WEIR_ERR_INVALID, "WEIR_CONNECTORS: connector '%.100s': %s", into->name, wrong);
    if (find_in(job, into->name))
        return weir_fail(error, WEIR_ERR_INVALID, "WEIR_CONNECTORS: there is a connector '%.100s' already", into->name);
    job->count++;
    return 0;
}

weir_err weir_connectors_load(void *handle, struct weir_error *error)
{
    const struct weir_job_connectors *from = dlsym(handle, "weir_job_connectors");
    struct job_connectors *have = atomic_load(&job_connectors);
    if (!from || (have && have->from == from)) /* a local executor that is started again */
        return 0;
    if (from->size != sizeof *from || from->count > WEIR_CONNECTORS_MAX || (from->count && !from->connectors))
        return weir_fail(error, WEIR_ERR_INVALID,
                         "weir_job_connectors is not one of WEIR_CONNECTORS with at most %d connectors",
                         WEIR_CONNECTORS_MAX);
    struct job_connectors *job = weir_zalloc(sizeof *job);
    job->from = from;
    weir_err err = 0;
    for (uint32_t i = 0; i < from->count && !err; i++)
        err = add(job, from->connectors[i], error);
    if (err)
        free(job);
    else
        atomic_store(&job_connectors, job);
    return err;
}

weir_err weir_connector_find(const char *name, const struct weir_connector **connector, struct weir_error *error)
{
    const struct job_connectors *job = atomic_load(&job_connectors);
    *connector = find_in(job, name);
    if (*connector)
        return 0;
    const char *names[sizeof weir_connectors / sizeof *weir_connectors + WEIR_CONNECTORS_MAX];
    int count = 0;
    for (; weir_connectors[count]; count++)
        names[count] = weir_connectors[count]->name;
    for (int i = 0; job && i < job->count; i++)
        names[count++] = job->connectors[i].name;
    const char *near = weir_nearest(name, names, count);
    if (near)
        return weir_fail(error, WEIR_ERR_INVALID, "there is no connector '%s'; did you mean '%s'?", name, near);
    struct weir_buf list;
    weir_buf_init(&list, 8192);
    for (int i = 0; i < count; i++)
        if (!weir_buf_printf(&list, "%s%.100s", i ? ", " : "", names[i]))
            break;
    weir_err err =
        weir_fail(error, WEIR_ERR_INVALID, "there is no connector '%s'; there are %s", name, (const char *)list.data);
    weir_buf_fini(&list);
    return err;
}

struct weir_schema *weir_split_schema(void)
{
    static struct weir_schema *schema;
    struct weir_schema *have = __atomic_load_n(&schema, __ATOMIC_ACQUIRE);
    if (have)
        return have;
    struct weir_type string = {.id = WEIR_TYPE_STRING}, bigint = {.id = WEIR_TYPE_INT64};
    struct weir_field fields[] = {{"id", string}, {"offset", bigint}, {"size", bigint}, {"remaining", bigint}};
    struct weir_schema *made = weir_schema_new(fields, 4);
    if (__atomic_compare_exchange_n(&schema, &have, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return made;
    weir_schema_unref(made);
    return have;
}
