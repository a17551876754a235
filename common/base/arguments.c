/* See arguments.h. */
#include "base/arguments.h"

#include <string.h>

bool weir_argument_at(const char *const *arguments, int count, int i, struct weir_argument *argument)
{
    const char *text = arguments[i];
    *argument = (struct weir_argument){.used = 1};
    if (strncmp(text, "--", 2) != 0 || !text[2] || text[2] == '=')
        return false;
    const char *equals = strchr(text, '=');
    argument->name = text + 2;
    argument->name_size = equals ? (size_t)(equals - argument->name) : strlen(argument->name);
    argument->value = equals ? equals + 1 : NULL;
    if (!equals && i + 1 < count && strncmp(arguments[i + 1], "--", 2) != 0) {
        argument->value = arguments[i + 1];
        argument->used = 2;
    }
    return true;
}

const char *weir_argument_find(const char *const *arguments, int count, const char *name)
{
    struct weir_argument argument;
    for (int i = 0; i < count; i += argument.used)
        if (weir_argument_at(arguments, count, i, &argument) && strlen(name) == argument.name_size &&
            memcmp(argument.name, name, argument.name_size) == 0)
            return argument.value ? argument.value : "";
    return NULL;
}
