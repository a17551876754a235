/* Each key has one place, by its hash; the newest one has it. Owning thread: the task's worker. */
#include "state/absent.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

#define PLACES 1024 /* about twice what an operator looks up together */
#define KEY_MAX 44  /* longer ones are not kept */

struct place {
    uint32_t size; /* 0: none */
    uint8_t key[KEY_MAX];
};

struct weir_absent {
    struct place places[PLACES];
    bool any;
};

struct weir_absent *weir_absent_new(void)
{
    return weir_zalloc(sizeof(struct weir_absent));
}

void weir_absent_free(struct weir_absent *absent)
{
    free(absent);
}

void weir_absent_add(struct weir_absent *absent, const uint8_t *key, uint32_t key_size)
{
    struct place *place = &absent->places[weir_xxh3(key, key_size) % PLACES];
    if (key_size > KEY_MAX)
        return;
    place->size = key_size;
    memcpy(place->key, key, key_size);
    absent->any = true;
}

bool weir_absent_has(const struct weir_absent *absent, const uint8_t *key, uint32_t key_size)
{
    if (!absent->any)
        return false;
    const struct place *place = &absent->places[weir_xxh3(key, key_size) % PLACES];
    return place->size == key_size && memcmp(place->key, key, key_size) == 0;
}

void weir_absent_clear(struct weir_absent *absent)
{
    if (absent->any)
        memset(absent, 0, sizeof *absent);
}
