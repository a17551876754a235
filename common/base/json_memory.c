#include "base/json_memory.h"

#include <stdlib.h>

#include <jansson.h>
#include <pthread.h>

#include "base/mem.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void set(void)
{
    json_set_alloc_funcs(weir_alloc, free);
}

void weir_json_memory(void)
{
    pthread_once(&once, set);
}
