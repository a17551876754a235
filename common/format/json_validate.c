/* Records against a compiled JSON schema (json_schema.h). A record is parsed whole, then walked with the schema's nodes.
 *
 * The first violation is told: where in the record (a JSON pointer) and which keyword. Inside of anyOf, oneOf, not and if nothing is told, since a
 * violation there is none of the record's yet. Depth and steps are bounded: a schema may refer to itself without end, or try many branches at
 * every level.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json_memory.h"
#include "format/json_schema_int.h"

/* Schemas in schemas; the JSON format takes records of 1024 levels. */
#define DEPTH_MAX 1500
#define STEPS_MAX 20000000
#define PATH_SIZE_MAX 300

/* The way to a value. */
struct step {
    const struct step *outer;
    const char *name; /* NULL: the element `index` */
    size_t index;
};

struct check {
    int64_t steps;
    int depth;
    int quiet;  /* a violation is no error yet */
    bool ended; /* the record cannot be judged: the error says why */
    struct weir_error *error;
};

static bool valid(struct check *check, const struct node *node, json_t *value, const struct step *at);

/* --- Sentences */

static size_t print_path(const struct step *at, char *out, size_t room)
{
    if (!at)
        return 0;
    size_t size = print_path(at->outer, out, room);
    int more = at->name ? snprintf(out + size, room - size, "/%.80s", at->name)
                        : snprintf(out + size, room - size, "/%zu", at->index);
    return size + (size_t)more < room ? size + (size_t)more : room - 1;
}

static bool violates(const struct check *check, const struct step *at, const char *keyword, const char *format, ...)
    __attribute__((format(printf, 4, 5), noinline, cold));
static bool violates(const struct check *check, const struct step *at, const char *keyword, const char *format, ...)
{
    char path[PATH_SIZE_MAX] = "", what[300];
    if (check->quiet || check->ended)
        return false;
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    (void)print_path(at, path, sizeof path);
    (void)!weir_fail_record(check->error, WEIR_BAD_VALUE, "json: the record breaks its schema at %s: '%s': %s",
                            path[0] ? path : "its top", keyword, what);
    return false;
}

static bool end(struct check *check, const char *why)
{
    if (!check->ended)
        (void)!weir_fail_record(check->error, WEIR_BAD_SCHEMA, "json: the record cannot be checked by its schema: %s",
                                why);
    check->ended = true;
    return false;
}

/* --- Values */

static long double number_of(const json_t *value)
{
    return json_is_integer(value) ? (long double)json_integer_value(value) : (long double)json_real_value(value);
}

static bool is_whole(const json_t *value)
{
    return json_is_integer(value) || (json_is_real(value) && json_real_value(value) == floor(json_real_value(value)));
}

/* As JSON Schema has it: 1 and 1.0 are equal, members have no order. */
static bool equal(struct check *check, json_t *a, json_t *b)
{
    if (--check->steps < 0)
        return end(check, "it would take too many steps");
    if (json_is_number(a) && json_is_number(b))
        return number_of(a) == number_of(b);
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_array(a)) {
        bool same = json_array_size(a) == json_array_size(b);
        for (size_t i = 0; same && i < json_array_size(a); i++)
            same = equal(check, json_array_get(a, i), json_array_get(b, i));
        return same;
    }
    if (!json_is_object(a))
        return json_equal(a, b);
    const char *name;
    json_t *value;
    if (json_object_size(a) != json_object_size(b))
        return false;
    json_object_foreach(a, name, value)
    {
        json_t *other = json_object_get(b, name);
        if (!other || !equal(check, value, other))
            return false;
    }
    return true;
}

/* The same of what is equal. */
static uint64_t hash_of(struct check *check, json_t *value)
{
    const char *name;
    json_t *inner;
    size_t index;
    uint64_t hash = (uint64_t)json_typeof(value);
    check->steps--;
    switch (json_typeof(value)) {
    case JSON_INTEGER:
    case JSON_REAL: {
        double number = json_number_value(value) + 0.0; /* -0.0 is 0.0 */
        return weir_xxh3(&number, sizeof number);
    }
    case JSON_STRING:
        return weir_xxh3(json_string_value(value), json_string_length(value));
    case JSON_ARRAY:
        json_array_foreach(value, index, inner) hash = hash * 31 + hash_of(check, inner);
        return hash;
    case JSON_OBJECT:
        json_object_foreach(value, name, inner) hash += weir_xxh3(name, strlen(name)) * (hash_of(check, inner) | 1);
        return hash;
    default:
        return hash;
    }
}

/* --- Keywords, by the value's type */

static unsigned types_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_NULL:
        return TYPE_NULL;
    case JSON_TRUE:
    case JSON_FALSE:
        return TYPE_BOOLEAN;
    case JSON_STRING:
        return TYPE_STRING;
    case JSON_ARRAY:
        return TYPE_ARRAY;
    case JSON_OBJECT:
        return TYPE_OBJECT;
    default:
        return TYPE_NUMBER | (is_whole(value) ? TYPE_INTEGER : 0);
    }
}

static bool is_multiple(const json_t *value, const json_t *of)
{
    if (json_is_integer(value) && json_is_integer(of))
        return json_integer_value(value) % json_integer_value(of) == 0;
    double quotient = json_number_value(value) / json_number_value(of);
    return isfinite(quotient) && fabs(quotient - nearbyint(quotient)) <= 1e-9 * fmax(1, fabs(quotient) * 1e-6);
}

static bool number_valid(const struct check *check, const struct node *node, const json_t *value, const struct step *at)
{
    long double number = number_of(value);
    double shown = (double)number;
    if (node->minimum && number < number_of(node->minimum))
        return violates(check, at, "minimum", "%g is less than %g", shown, json_number_value(node->minimum));
    if (node->maximum && number > number_of(node->maximum))
        return violates(check, at, "maximum", "%g is more than %g", shown, json_number_value(node->maximum));
    if (node->above && number <= number_of(node->above))
        return violates(check, at, "exclusiveMinimum", "%g is not more than %g", shown, json_number_value(node->above));
    if (node->below && number >= number_of(node->below))
        return violates(check, at, "exclusiveMaximum", "%g is not less than %g", shown, json_number_value(node->below));
    if (node->multiple && !is_multiple(value, node->multiple))
        return violates(check, at, "multipleOf", "%g is no multiple of %g", shown, json_number_value(node->multiple));
    return true;
}

static bool string_valid(const struct check *check, const struct node *node, const json_t *value, const struct step *at)
{
    const char *text = json_string_value(value);
    size_t size = json_string_length(value);
    if (node->length_min >= 0 || node->length_max >= 0) {
        int64_t length = 0;
        for (size_t i = 0; i < size; i++)
            length += ((unsigned char)text[i] & 0xc0) != 0x80;
        if (node->length_min > length)
            return violates(check, at, "minLength", "%lld characters, fewer than %lld", (long long)length,
                            (long long)node->length_min);
        if (node->length_max >= 0 && length > node->length_max)
            return violates(check, at, "maxLength", "%lld characters, more than %lld", (long long)length,
                            (long long)node->length_max);
    }
    if (node->pattern && !weir_json_pattern_matches(node->pattern, text))
        return violates(check, at, "pattern", "'%.100s' does not match it", text);
    return true;
}

struct hashed {
    uint64_t hash;
    json_t *value;
};

static int compare_hashed(const void *a, const void *b)
{
    const struct hashed *x = a, *y = b;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

static bool is_unique(struct check *check, json_t *array)
{
    size_t count = json_array_size(array);
    struct hashed *elements = weir_alloc((count + 1) * sizeof *elements);
    bool unique = true;
    for (size_t i = 0; i < count && check->steps >= 0; i++)
        elements[i] = (struct hashed){hash_of(check, json_array_get(array, i)), json_array_get(array, i)};
    if (check->steps < 0)
        unique = end(check, "it would take too many steps");
    else
        qsort(elements, count, sizeof *elements, compare_hashed);
    for (size_t i = 0; i < count && unique && !check->ended; i++)
        for (size_t j = i + 1; j < count && elements[j].hash == elements[i].hash && unique; j++)
            unique = !equal(check, elements[i].value, elements[j].value) || check->ended;
    free(elements);
    return unique;
}

static bool contains_valid(struct check *check, const struct node *node, json_t *value, const struct step *at)
{
    int64_t least = node->contains_min >= 0 ? node->contains_min : 1, found = 0;
    size_t index;
    json_t *element;
    check->quiet++;
    json_array_foreach(value, index, element)
    {
        struct step step = {at, NULL, index};
        found += valid(check, node->contains, element, &step);
    }
    check->quiet--;
    if (check->ended)
        return false;
    if (found < least)
        return violates(check, at, "contains", "%lld such elements, fewer than %lld", (long long)found,
                        (long long)least);
    if (node->contains_max >= 0 && found > node->contains_max)
        return violates(check, at, "maxContains", "%lld such elements, more than %lld", (long long)found,
                        (long long)node->contains_max);
    return true;
}

static bool array_valid(struct check *check, const struct node *node, json_t *value, const struct step *at)
{
    int64_t count = (int64_t)json_array_size(value);
    size_t index;
    json_t *element;
    if (node->items_min > count)
        return violates(check, at, "minItems", "%lld elements, fewer than %lld", (long long)count,
                        (long long)node->items_min);
    if (node->items_max >= 0 && count > node->items_max)
        return violates(check, at, "maxItems", "%lld elements, more than %lld", (long long)count,
                        (long long)node->items_max);
    json_array_foreach(value, index, element)
    {
        struct step step = {at, NULL, index};
        const struct node *inner = index < node->prefix.count ? node->prefix.nodes[index] : node->items;
        if (inner && !valid(check, inner, element, &step))
            return false;
    }
    if (node->contains && !contains_valid(check, node, value, at))
        return false;
    if (node->unique && !is_unique(check, value))
        return violates(check, at, "uniqueItems", "an element is there twice");
    return !check->ended;
}

static bool member_valid(struct check *check, const struct node *node, const char *name, json_t *member,
                         const struct step *at)
{
    bool known = false;
    struct step step = {at, name, 0};
    for (size_t i = 0; i < node->property_count + node->pattern_count; i++) {
        const struct named *named = &node->properties[i];
        if (named->pattern ? !weir_json_pattern_matches(named->pattern, name) : strcmp(named->name, name) != 0)
            continue;
        known = true;
        if (!valid(check, named->node, member, &step))
            return false;
    }
    if (!known && node->additional) {
        if (node->additional->never)
            return violates(check, at, "additionalProperties", "there may be no '%.100s'", name);
        return valid(check, node->additional, member, &step);
    }
    return true;
}

static bool dependents_valid(struct check *check, const struct node *node, json_t *value, const struct step *at)
{
    for (size_t i = 0; i < node->dependent_count; i++) {
        const struct named *named = &node->dependents[i];
        size_t index;
        json_t *name;
        if (!json_object_get(value, named->name))
            continue;
        json_array_foreach(named->names, index, name)
        {
            if (!json_object_get(value, json_string_value(name)))
                return violates(check, at, "dependentRequired", "'%.100s' is there, and '%.100s' is not", named->name,
                                json_string_value(name));
        }
        if (named->node && !valid(check, named->node, value, at))
            return false;
    }
    return true;
}

static bool object_valid(struct check *check, const struct node *node, json_t *value, const struct step *at)
{
    int64_t count = (int64_t)json_object_size(value);
    const char *key;
    size_t index;
    json_t *name, *member;
    json_array_foreach(node->required, index, name)
    {
        if (!json_object_get(value, json_string_value(name)))
            return violates(check, at, "required", "'%.100s' is missing", json_string_value(name));
    }
    if (node->properties_min > count)
        return violates(check, at, "minProperties", "%lld members, fewer than %lld", (long long)count,
                        (long long)node->properties_min);
    if (node->properties_max >= 0 && count > node->properties_max)
        return violates(check, at, "maxProperties", "%lld members, more than %lld", (long long)count,
                        (long long)node->properties_max);
    if (node->property_count + node->pattern_count > 0 || node->additional || node->property_names) {
        json_object_foreach(value, key, member)
        {
            if (!member_valid(check, node, key, member, at))
                return false;
            if (node->property_names) {
                json_t *text = json_string_nocheck(key);
                bool named = valid(check, node->property_names, text, at);
                json_decref(text);
                if (!named)
                    return false;
            }
        }
    }
    return dependents_valid(check, node, value, at);
}

/* --- Keywords for all types */

static bool quietly_valid(struct check *check, const struct node *node, json_t *value, const struct step *at)
{
    check->quiet++;
    bool is = valid(check, node, value, at);
    check->quiet--;
    return is;
}

static bool branches_valid(struct check *check, const struct node *node, json_t *value, const struct step *at)
{
    for (size_t i = 0; i < node->all.count; i++)
        if (!valid(check, node->all.nodes[i], value, at))
            return false;
    bool any = node->any.count == 0;
    for (size_t i = 0; i < node->any.count && !any; i++)
        any = quietly_valid(check, node->any.nodes[i], value, at);
    if (!any)
        return violates(check, at, "anyOf", "it is none of them");
    size_t ones = 0;
    for (size_t i = 0; i < node->one.count && ones < 2; i++)
        ones += quietly_valid(check, node->one.nodes[i], value, at);
    if (node->one.count > 0 && ones != 1)
        return violates(check, at, "oneOf", ones ? "it is several of them" : "it is none of them");
    if (node->not_ && quietly_valid(check, node->not_, value, at))
        return violates(check, at, "not", "it is what it must not be");
    if (node->if_) {
        const struct node *then = quietly_valid(check, node->if_, value, at) ? node->then_ : node->else_;
        if (then && !valid(check, then, value, at))
            return false;
    }
    return !check->ended;
}

static bool value_valid(struct check *check, const struct node *node, json_t *value, const struct step *at)
{
    size_t index;
    json_t *choice;
    unsigned types = types_of(value);
    if (node->never)
        return violates(check, at, "false", "nothing may be there");
    if (node->types && !(node->types & types))
        return violates(check, at, "type", "it has another type");
    if (node->values) {
        bool found = false;
        json_array_foreach(node->values, index, choice) found = found || equal(check, choice, value);
        if (!found)
            return violates(check, at, "enum", "it is none of the values");
    }
    if (node->constant && !equal(check, node->constant, value))
        return violates(check, at, "const", "it is another value");
    if (types & TYPE_NUMBER)
        return number_valid(check, node, value, at);
    if (types & TYPE_STRING)
        return string_valid(check, node, value, at);
    if (types & TYPE_ARRAY)
        return array_valid(check, node, value, at);
    return !(types & TYPE_OBJECT) || object_valid(check, node, value, at);
}

static bool valid(struct check *check, const struct node *node, json_t *value, const struct step *at)
{
    if (check->ended)
        return false;
    if (check->depth == DEPTH_MAX)
        return end(check, "it is nested too deep, or the schema refers to itself without end");
    if (--check->steps < 0)
        return end(check, "it would take too many steps");
    check->depth++;
    bool is = (!node->ref || valid(check, node->ref, value, at)) && value_valid(check, node, value, at) &&
              branches_valid(check, node, value, at);
    check->depth--;
    return is && !check->ended;
}

weir_err weir_json_schema_check(const struct weir_json_schema *schema, const uint8_t *bytes, size_t size,
                                struct weir_error *error)
{
    json_error_t wrong;
    struct check check = {.steps = STEPS_MAX, .error = error};
    size_t flags = JSON_DECODE_ANY | JSON_ALLOW_NUL;
    weir_json_memory();
    json_t *value = json_loadb((const char *)bytes, size, flags, &wrong);
    if (!value && json_error_code(&wrong) == json_error_numeric_overflow) /* a whole number beyond 64 bits */
        value = json_loadb((const char *)bytes, size, flags | JSON_DECODE_INT_AS_REAL, &wrong);
    if (!value)
        return weir_fail_record(error, WEIR_BAD_MALFORMED, "json: the record cannot be checked by its schema: %s",
                                wrong.text);
    bool is = valid(&check, schema->root, value, NULL);
    json_decref(value);
    return is ? WEIR_OK : WEIR_ERR_DATA;
}
