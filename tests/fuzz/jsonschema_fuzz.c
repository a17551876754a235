/* JSON Schema: any schema is read or refused with a sentence, any record is judged, twice the same. Input: a schema up to a NUL, then a record. */
#include "format/json_schema.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct fuzz_input text = fuzz_until(&in, 0);
    char *copy = weir_strndup((const char *)text.at, text.left);
    struct weir_json_document document = {"", copy};
    struct weir_json_schema *schema = NULL;
    struct weir_error error = {.message = ""};
    if (weir_json_schema_new(&document, 1, &schema, &error)) {
        fuzz_check(error.message[0]);
    } else {
        weir_err err = weir_json_schema_check(schema, in.at, in.left, &error);
        fuzz_check(!err || (err == WEIR_ERR_DATA && error.message[0]));
        fuzz_check(weir_json_schema_check(schema, in.at, in.left, &error) == err);
        weir_json_schema_free(schema);
    }
    free(copy);
    return 0;
}
