#include "commands.h"

#include <stdio.h>
#include <unistd.h>

#include "base/json_memory.h"
#include "base/mem.h"

/* A command ends with a sentence, not with a core file. */
static void say_out_of_memory(size_t size)
{
    fprintf(stderr, "weir: out of memory: cannot allocate %zu bytes\n", size);
    _exit(1);
}

int main(int argc, char **argv)
{
    weir_on_out_of_memory(say_out_of_memory);
    weir_json_memory();
    return weir_client_main(argc, argv);
}
