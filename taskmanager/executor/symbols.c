#include "executor/symbols.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define SYMBOLS_MAX ((size_t)1 << 20)

struct symbol {
    uintptr_t address;
    uintptr_t size;
    const char *name;
};

static struct symbol *symbols;
static _Atomic size_t symbol_count; /* published last */

static int by_address(const void *a, const void *b)
{
    uintptr_t x = ((const struct symbol *)a)->address, y = ((const struct symbol *)b)->address;
    return x < y ? -1 : x > y;
}

/* Is [offset, offset + count * size) inside the file? */
static int inside(size_t file_size, uint64_t offset, uint64_t count, uint64_t size)
{
    return offset <= file_size && (size == 0 || count <= (file_size - offset) / size);
}

static void read_table(const uint8_t *file, size_t file_size, const ElfW(Shdr) * sections, size_t count, uintptr_t base)
{
    for (size_t i = 0; i < count; i++) {
        const ElfW(Shdr) *table = &sections[i];
        if (table->sh_type != SHT_SYMTAB || table->sh_link >= count ||
            !inside(file_size, table->sh_offset, table->sh_size, 1) || table->sh_offset % 8 != 0)
            continue;
        const ElfW(Shdr) *strings = &sections[table->sh_link];
        if (!inside(file_size, strings->sh_offset, strings->sh_size, 1) || strings->sh_size == 0 ||
            file[strings->sh_offset + strings->sh_size - 1] != 0)
            continue;
        const ElfW(Sym) *entries = (const void *)(file + table->sh_offset);
        size_t entry_count = table->sh_size / sizeof *entries, used = 0;
        if (entry_count > SYMBOLS_MAX)
            return;
        symbols = weir_zalloc((entry_count + 1) * sizeof *symbols);
        for (size_t k = 0; k < entry_count; k++)
            if (ELF64_ST_TYPE(entries[k].st_info) == STT_FUNC && entries[k].st_value != 0 &&
                entries[k].st_name < strings->sh_size)
                symbols[used++] = (struct symbol){base + entries[k].st_value, entries[k].st_size,
                                                  (const char *)file + strings->sh_offset + entries[k].st_name};
        qsort(symbols, used, sizeof *symbols, by_address);
        atomic_store(&symbol_count, used);
        return;
    }
}

void weir_symbols_load(const char *path, uintptr_t base)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || atomic_load(&symbol_count) > 0 || fstat(fd, &info) != 0 || info.st_size < (off_t)sizeof(ElfW(Ehdr))) {
        if (fd >= 0)
            close(fd);
        return;
    }
    size_t size = (size_t)info.st_size;
    const uint8_t *file = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0); /* names are kept: never unmapped */
    close(fd);
    if (file == MAP_FAILED)
        return;
    const ElfW(Ehdr) *header = (const void *)file;
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 && header->e_shentsize == sizeof(ElfW(Shdr)) &&
        header->e_shoff % 8 == 0 && inside(size, header->e_shoff, header->e_shnum, sizeof(ElfW(Shdr))))
        read_table(file, size, (const void *)(file + header->e_shoff), header->e_shnum, base);
    if (atomic_load(&symbol_count) == 0)
        munmap((void *)(uintptr_t)file, size);
}

const char *weir_symbols_find(uintptr_t address, uintptr_t *offset)
{
    size_t low = 0, high = atomic_load(&symbol_count);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (symbols[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    const struct symbol *symbol = &symbols[low - 1];
    if (address - symbol->address >= (symbol->size ? symbol->size : 1))
        return NULL;
    *offset = address - symbol->address;
    return symbol->name;
}
