#include "executor/job_code.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <link.h>
#include <stdlib.h>

#include "base/mem.h"
#include "connectors/connector.h"
#include "executor/symbols.h"

struct weir_job_code {
    void *handle;
    uintptr_t base;
    uintptr_t end; /* of the highest loaded segment */
};

struct search {
    uintptr_t base;
    uintptr_t end;
};

static int find_end(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct search *search = arg;
    if (info->dlpi_addr != search->base)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t end = info->dlpi_addr + header->p_vaddr + header->p_memsz;
        if (header->p_type == PT_LOAD && end > search->end)
            search->end = end;
    }
    return 1;
}

weir_err weir_job_code_open(const char *path, struct weir_job_code **out, struct weir_error *error)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return weir_fail(error, WEIR_ERR_INVALID, "cannot load the job's code: %s", dlerror());
    void *symbol = dlsym(handle, "weir_job_descriptor");
    Dl_info info;
    if (!symbol || !dladdr(symbol, &info)) {
        dlclose(handle);
        return weir_fail(error, WEIR_ERR_INVALID, "%s is no weir job: it has no weir_job_descriptor (WEIR_JOB)", path);
    }
    weir_err err = weir_connectors_load(handle, error);
    if (err) {
        dlclose(handle);
        return err;
    }
    struct search search = {.base = (uintptr_t)info.dli_fbase};
    dl_iterate_phdr(find_end, &search);
    struct weir_job_code *code = weir_zalloc(sizeof *code);
    code->handle = handle;
    code->base = search.base;
    code->end = search.end;
    weir_symbols_load(path, code->base);
    *out = code;
    return WEIR_OK;
}

void weir_job_code_free(struct weir_job_code *code)
{
    free(code);
}

weir_err weir_job_code_resolve(const struct weir_job_code *code, uint64_t offset, void **address,
                               struct weir_error *error)
{
    if (offset == 0 || offset >= code->end - code->base)
        return weir_fail(error, WEIR_ERR_PROTOCOL, "offset %#" PRIx64 " does not lie in the job's code", offset);
    *address = (void *)(code->base + offset);
    return WEIR_OK;
}
