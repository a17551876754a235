/* See job_object.h. Everything in the file is from outside: each offset is checked against the file's size before it is followed. */
#include "executor/job_object.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "weir/weir.h"

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#elif defined(__riscv)
#define MACHINE EM_RISCV
#elif defined(__powerpc64__)
#define MACHINE EM_PPC64
#elif defined(__s390x__)
#define MACHINE EM_S390
#elif defined(__i386__)
#define MACHINE EM_386
#elif defined(__arm__)
#define MACHINE EM_ARM
#else
#define MACHINE EM_NONE /* not compared */
#endif
#define CLASS (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32)

static const char *machine_name(int machine, char out[32])
{
    switch (machine) {
    case EM_X86_64:
        return "x86-64";
    case EM_AARCH64:
        return "arm64";
    case EM_RISCV:
        return "RISC-V";
    case EM_PPC64:
        return "ppc64";
    case EM_S390:
        return "s390x";
    case EM_386:
        return "i386";
    case EM_ARM:
        return "arm";
    default:
        snprintf(out, 32, "machine %d", machine);
        return out;
    }
}

struct image {
    const char *path;
    const uint8_t *bytes;
    size_t size;
};

/* `size` bytes at `offset` of the file, or NULL when they are not in it. */
static const void *at(const struct image *image, uint64_t offset, uint64_t size)
{
    return offset <= image->size && size <= image->size - offset ? image->bytes + offset : NULL;
}

static weir_err check_header(const struct image *image, ElfW(Ehdr) * header, struct weir_error *error)
{
    const uint8_t *ident = image->bytes;
    uint16_t one = 1;
    bool little = *(const uint8_t *)&one == 1;
    char theirs[32], ours[32];
    if (image->size < EI_NIDENT || memcmp(ident, ELFMAG, SELFMAG) != 0)
        return weir_fail(error, WEIR_ERR_INVALID, "%s is not a shared object: build it with cc -shared -fPIC",
                         image->path);
    if (image->size < sizeof *header)
        return weir_fail(error, WEIR_ERR_INVALID, "%s is cut off: %zu bytes", image->path, image->size);
    memcpy(header, image->bytes, sizeof *header);
    if (ident[EI_CLASS] != CLASS || (ident[EI_DATA] == ELFDATA2LSB) != little ||
        (MACHINE != EM_NONE && header->e_machine != MACHINE))
        return weir_fail(error, WEIR_ERR_INVALID, "%s is built for another machine: %s, %s bit; this is %s, %d bit",
                         image->path, machine_name(header->e_machine, theirs),
                         ident[EI_CLASS] == ELFCLASS64 ? "64" : "32", machine_name(MACHINE, ours),
                         (int)sizeof(void *) * 8);
    if (header->e_type != ET_DYN)
        return weir_fail(error, WEIR_ERR_INVALID, "%s is %s, not a shared object: build it with cc -shared -fPIC",
                         image->path,
                         header->e_type == ET_REL    ? "an object file"
                         : header->e_type == ET_EXEC ? "a program"
                                                     : "another kind of file");
    return 0;
}

/* Everything that the loader would map must be in the file: a file that is cut off ends it with a signal otherwise. */
static weir_err check_segments(const struct image *image, const ElfW(Ehdr) * header, struct weir_error *error)
{
    const uint8_t *table = at(image, header->e_phoff, (uint64_t)header->e_phnum * sizeof(ElfW(Phdr)));
    bool whole = table && header->e_phnum > 0 && header->e_phentsize == sizeof(ElfW(Phdr));
    for (int i = 0; whole && i < header->e_phnum; i++) {
        ElfW(Phdr) segment;
        memcpy(&segment, table + (size_t)i * sizeof segment, sizeof segment);
        whole = (segment.p_type != PT_LOAD && segment.p_type != PT_DYNAMIC) ||
                at(image, segment.p_offset, segment.p_filesz);
    }
    /* Section headers come last in a file that a linker wrote; sstrip'd files have none. */
    if (whole && header->e_shnum > 0)
        whole = at(image, header->e_shoff, (uint64_t)header->e_shnum * sizeof(ElfW(Shdr))) &&
                header->e_shentsize == sizeof(ElfW(Shdr));
    return whole ? 0
                 : weir_fail(error, WEIR_ERR_INVALID,
                             "%s is cut off or damaged: its headers speak of more than the %zu bytes it has",
                             image->path, image->size);
}

/* The descriptor's magic and ABI numbers lie at its begin and need no relocation: virtual address -> file. */
static const uint8_t *virtual_at(const struct image *image, const ElfW(Ehdr) * header, uint64_t address, uint64_t size)
{
    for (int i = 0; i < header->e_phnum; i++) {
        ElfW(Phdr) segment;
        memcpy(&segment, image->bytes + header->e_phoff + (size_t)i * sizeof segment, sizeof segment);
        if (segment.p_type == PT_LOAD && address >= segment.p_vaddr && address - segment.p_vaddr <= segment.p_filesz &&
            size <= segment.p_filesz - (address - segment.p_vaddr))
            return at(image, segment.p_offset + (address - segment.p_vaddr), size);
    }
    return NULL;
}

/* Finds the symbol among the dynamic ones. 1: found; 0: not there; -1: the object has no section table to look in. */
static int find_descriptor(const struct image *image, const ElfW(Ehdr) * header, uint64_t *address)
{
    bool looked = false;
    for (int i = 0; i < header->e_shnum; i++) {
        ElfW(Shdr) section, names;
        memcpy(&section, image->bytes + header->e_shoff + (size_t)i * sizeof section, sizeof section);
        if (section.sh_type != SHT_DYNSYM || section.sh_link >= header->e_shnum ||
            !at(image, section.sh_offset, section.sh_size))
            continue;
        memcpy(&names, image->bytes + header->e_shoff + (size_t)section.sh_link * sizeof names, sizeof names);
        if (!at(image, names.sh_offset, names.sh_size))
            continue;
        looked = true;
        static const char wanted[] = "weir_job_descriptor";
        for (uint64_t s = 0; s + sizeof(ElfW(Sym)) <= section.sh_size; s += sizeof(ElfW(Sym))) {
            ElfW(Sym) symbol;
            memcpy(&symbol, image->bytes + section.sh_offset + s, sizeof symbol);
            if (symbol.st_shndx == SHN_UNDEF || symbol.st_name > names.sh_size ||
                names.sh_size - symbol.st_name < sizeof wanted)
                continue;
            if (memcmp(image->bytes + names.sh_offset + symbol.st_name, wanted, sizeof wanted) == 0) {
                *address = symbol.st_value;
                return 1;
            }
        }
    }
    return looked ? 0 : -1;
}

static weir_err check_abi(const struct image *image, const ElfW(Ehdr) * header, struct weir_error *error)
{
    uint64_t address = 0;
    int found = find_descriptor(image, header, &address);
    if (found < 0)
        return weir_fail(error, WEIR_ERR_INVALID,
                         "%s has no section headers, so its weir ABI cannot be read: build it without removing them",
                         image->path);
    if (found == 0)
        return weir_fail(error, WEIR_ERR_INVALID, "%s holds no job: it defines no WEIR_JOB(name) { ... }", image->path);
    struct {
        uint32_t magic;
        uint16_t abi_major, abi_minor;
    } descriptor;
    const uint8_t *bytes = virtual_at(image, header, address, sizeof descriptor);
    if (!bytes)
        return weir_fail(error, WEIR_ERR_INVALID, "%s is damaged: its weir_job_descriptor lies outside of the file",
                         image->path);
    memcpy(&descriptor, bytes, sizeof descriptor);
    if (descriptor.magic != WEIR_JOB_MAGIC)
        return weir_fail(error, WEIR_ERR_INVALID, "%s holds no job: its weir_job_descriptor is not one of WEIR_JOB",
                         image->path);
    if (descriptor.abi_major != WEIR_ABI_MAJOR || descriptor.abi_minor > WEIR_ABI_MINOR)
        return weir_fail(
            error, WEIR_ERR_UNSUPPORTED, "%s is built against weir's ABI %u.%u, and this runtime has %d.%d: %s",
            image->path, descriptor.abi_major, descriptor.abi_minor, WEIR_ABI_MAJOR, WEIR_ABI_MINOR,
            descriptor.abi_major < WEIR_ABI_MAJOR ? "build the job again"
                                                  : "update the runtime, or build the job against its headers");
    return 0;
}

weir_err weir_job_object_check_as(const char *path, const char *name, struct weir_error *error)
{
    struct image image = {name, NULL, 0};
    struct stat stat;
    weir_err err = 0;
    void *map = MAP_FAILED;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return weir_fail_errno(error, WEIR_ERR_INVALID, "cannot open %s", name);
    if (fstat(fd, &stat) != 0)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot look at %s", name);
    else if (!S_ISREG(stat.st_mode))
        err = weir_fail(error, WEIR_ERR_INVALID, "%s is not a file", name);
    else if (stat.st_size == 0)
        err = weir_fail(error, WEIR_ERR_INVALID, "%s is empty", name);
    if (!err && (map = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        err = weir_fail_errno(error, WEIR_ERR_IO, "cannot read %s", name);
    if (!err) {
        ElfW(Ehdr) header;
        image.bytes = map;
        image.size = (size_t)stat.st_size;
        err = check_header(&image, &header, error);
        if (!err)
            err = check_segments(&image, &header, error);
        if (!err)
            err = check_abi(&image, &header, error);
    }
    if (map != MAP_FAILED)
        munmap(map, (size_t)stat.st_size);
    close(fd);
    return err;
}

weir_err weir_job_object_check(const char *path, struct weir_error *error)
{
    return weir_job_object_check_as(path, path, error);
}
