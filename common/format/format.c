/* The table of formats. A format is one file with its vtable, and one line here. */
#include "format/format.h"

#include <string.h>

extern const struct weir_format weir_format_avro;
extern const struct weir_format weir_format_avro_confluent;
extern const struct weir_format weir_format_csv;
extern const struct weir_format weir_format_json;
extern const struct weir_format weir_format_json_confluent;
extern const struct weir_format weir_format_protobuf;
extern const struct weir_format weir_format_protobuf_confluent;
extern const struct weir_format weir_format_raw;

const struct weir_format *const weir_formats[] = {
    &weir_format_avro,
    &weir_format_avro_confluent,
    &weir_format_csv,
    &weir_format_json,
    &weir_format_json_confluent,
    &weir_format_protobuf,
    &weir_format_protobuf_confluent,
    &weir_format_raw,
    NULL,
};

#define FORMATS ((int)(sizeof weir_formats / sizeof *weir_formats) - 1)

weir_err weir_format_find(const char *name, const struct weir_format **format, struct weir_error *error)
{
    const char *names[FORMATS];
    for (int i = 0; i < FORMATS; i++) {
        names[i] = weir_formats[i]->name;
        if (strcmp(name, names[i]) == 0) {
            *format = weir_formats[i];
            return WEIR_OK;
        }
    }
    const char *near = weir_nearest(name, names, FORMATS);
    if (near)
        return weir_fail(error, WEIR_ERR_INVALID, "there is no format '%.100s'; did you mean '%s'?", name, near);
    struct weir_buf all;
    weir_buf_init(&all, 1024);
    for (int i = 0; i < FORMATS; i++)
        if (!weir_buf_printf(&all, "%s%s", i ? ", " : "", names[i]))
            break;
    weir_err err =
        weir_fail(error, WEIR_ERR_INVALID, "there is no format '%.100s'; there are %s", name, (const char *)all.data);
    weir_buf_fini(&all);
    return err;
}
