/* The connector table: the one place that names every connector. Adding one is its folder and a line here. */
#include "connectors/connector.h"

#include "connectors/connectors_int.h"

const struct weir_connector *const weir_connectors[] = {
    &weir_connector_blackhole,
    &weir_connector_datagen,
    &weir_connector_filesystem,
    &weir_connector_host,
    &weir_connector_print,
    &weir_connector_socket,
    NULL,
};

weir_err weir_connector_find(const char *name, const struct weir_connector **connector, struct weir_error *error)
{
    const char *names[sizeof weir_connectors / sizeof *weir_connectors] = {NULL};
    int count = 0;
    for (; weir_connectors[count]; count++) {
        if (strcmp(weir_connectors[count]->name, name) == 0) {
            *connector = weir_connectors[count];
            return 0;
        }
        names[count] = weir_connectors[count]->name;
    }
    const char *near = weir_nearest(name, names, count);
    if (near)
        return weir_fail(error, WEIR_ERR_INVALID, "there is no connector '%s'; did you mean '%s'?", name, near);
    struct weir_buf list;
    weir_buf_init(&list, 4096);
    for (int i = 0; i < count; i++)
        if (!weir_buf_printf(&list, "%s%s", i ? ", " : "", names[i]))
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
