/* JSON Schema: does a record say what a schema demands? Draft-07 (and what drafts 4 and 6 share with it) and 2019-09/2020-12, by "$schema".
 *
 * Keywords: type, enum, const; minimum, maximum, exclusive*, multipleOf; minLength, maxLength, pattern; properties, patternProperties,
 * additionalProperties, propertyNames, required, min/maxProperties, dependentRequired, dependentSchemas, dependencies; items, prefixItems,
 * additionalItems, contains, min/maxContains, min/maxItems, uniqueItems; allOf, anyOf, oneOf, not, if/then/else; $ref within the schema and to the
 * documents that are given with it, $anchor. `format` and all words that are not in this list are notes. Those that would change what is valid and
 * are not understood ($dynamicRef, $recursiveRef, unevaluated*) are refused when the schema is read, as is a pattern beyond regular expressions proper
 * (look-around, back references).
 *
 * A schema is immutable once made; nothing blocks. Depth and steps of one check are bounded.
 */
#ifndef WEIR_FORMAT_JSON_SCHEMA_H
#define WEIR_FORMAT_JSON_SCHEMA_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct weir_json_schema;

struct weir_json_document {
    const char *name; /* how "$ref" calls it */
    const char *text;
};

/* The last document is the schema, those before it are what it refers to. INVALID says where and which keyword. */
weir_err weir_json_schema_new(const struct weir_json_document *documents, int count, struct weir_json_schema **schema,
                              struct weir_error *error);
void weir_json_schema_free(struct weir_json_schema *schema); /* NULL is allowed */

/* One record. DATA: "json: at /items/0/price: 'minimum': ...". */
weir_err weir_json_schema_check(const struct weir_json_schema *schema, const uint8_t *bytes, size_t size,
                                struct weir_error *error);

#endif
