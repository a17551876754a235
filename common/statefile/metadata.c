#include "statefile/metadata.h"

#include <string.h>

#include "base/hash.h"
#include "base/proto_memory.h"
#include "data/row_key.h"

#define KIND_MAX 6 /* enum weir_state_kind */

weir_err weir_envelope_check(const char kind[4], const uint8_t *bytes, size_t size, struct weir_error *error)
{
    if (size < WEIR_ENVELOPE_SIZE || memcmp(bytes, "WEIR", 4) != 0)
        return weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: it does not begin as an object of weir");
    if (memcmp(bytes + 4, kind, 4) != 0)
        return weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: it is another object, not '%.4s'", kind);
    uint64_t hash = 0;
    for (int i = 0; i < 8; i++)
        hash |= (uint64_t)bytes[8 + i] << 8 * i;
    if (weir_xxh3(bytes + WEIR_ENVELOPE_SIZE, size - WEIR_ENVELOPE_SIZE) != hash)
        return weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: its %zu bytes do not fit its checksum", size);
    return WEIR_OK;
}

static const char *wrong(const Weir__StatePart *part)
{
    if (part->kind < 1 || part->kind > KIND_MAX)
        return "is of no known kind";
    if (part->parallelism < 1 || part->parallelism > WEIR_MAX_PARALLELISM_LIMIT || part->subtask >= part->parallelism)
        return "is of a subtask that there cannot be";
    if (part->size < 0 || part->offset < 0 || part->offset > INT64_MAX - part->size)
        return "has no such size";
    if (part->object[0])
        return part->bytes.len ? "is in two places" : NULL;
    if ((int64_t)part->bytes.len != part->size)
        return "has another size than it says";
    return weir_crc32c(0, part->bytes.data, part->bytes.len) == part->crc32c ? NULL : "does not fit its checksum";
}

static bool has_bad_segment(const Weir__Committable *committable)
{
    for (size_t i = 0; i < committable->n_segments; i++)
        if (!committable->segments[i]->object[0] || committable->segments[i]->size < 0)
            return true;
    return false;
}

static weir_err check(const Weir__Snapshot *snapshot, struct weir_error *error)
{
    if (snapshot->version != WEIR_METADATA_VERSION)
        return weir_fail(error, WEIR_ERR_UNSUPPORTED,
                         "its format is version %u, and this weir reads version %d: use the weir that wrote it (%s)",
                         snapshot->version, WEIR_METADATA_VERSION,
                         snapshot->weir_version[0] ? snapshot->weir_version : "unknown");
    if (snapshot->max_parallelism > WEIR_MAX_PARALLELISM_LIMIT)
        return weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: it has a max parallelism of %u",
                         snapshot->max_parallelism);
    for (size_t i = 0; i < snapshot->n_parts; i++) {
        const Weir__StatePart *part = snapshot->parts[i];
        const char *why = wrong(part);
        if (why)
            return weir_fail(error, WEIR_ERR_DATA,
                             "CHECKPOINT_CORRUPT: state '%.100s' of operator %.32s, subtask %u, %s", part->name,
                             part->uid, part->subtask, why);
    }
    for (size_t i = 0; i < snapshot->n_committables; i++)
        if (has_bad_segment(snapshot->committables[i]))
            return weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: output of connector '%.100s' is nowhere",
                             snapshot->committables[i]->connector);
    return WEIR_OK;
}

weir_err weir_metadata_parse(const uint8_t *bytes, size_t size, Weir__Snapshot **out, struct weir_error *error)
{
    weir_err err = weir_envelope_check("META", bytes, size, error);
    if (err)
        return err;
    Weir__Snapshot *snapshot =
        weir__snapshot__unpack(&weir_proto_memory, size - WEIR_ENVELOPE_SIZE, bytes + WEIR_ENVELOPE_SIZE);
    if (!snapshot)
        return weir_fail(error, WEIR_ERR_DATA, "CHECKPOINT_CORRUPT: it fits its checksum, but is no metadata");
    if ((err = check(snapshot, error)))
        weir__snapshot__free_unpacked(snapshot, NULL);
    else
        *out = snapshot;
    return err;
}
