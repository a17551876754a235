/* A job's shared object, looked at before any of its code runs. Input: the file. */
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include "executor/job_object.h"
#include "fuzz/fuzz.h"
#include "weir/weir.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct weir_error error;
    char path[64];
    int fd = memfd_create("job", MFD_CLOEXEC);
    fuzz_check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    weir_err err = weir_job_object_check_as(path, "job.so", &error);
    fuzz_check(!err || strstr(error.message, "job.so"));
    close(fd);
    return 0;
}

/* The smallest file that passes: one segment, the symbol and its name, the descriptor's first bytes. */
void fuzz_seeds(fuzz_put *put)
{
    struct {
        Elf64_Ehdr header;
        Elf64_Phdr segment;
        Elf64_Shdr sections[3];
        Elf64_Sym symbols[2];
        char names[24];
        struct {
            uint32_t magic;
            uint16_t abi_major, abi_minor;
        } descriptor;
    } file;
    memset(&file, 0, sizeof file);
    memcpy(file.header.e_ident, ELFMAG, SELFMAG);
    file.header.e_ident[EI_CLASS] = ELFCLASS64;
    file.header.e_ident[EI_DATA] = ELFDATA2LSB;
    file.header.e_type = ET_DYN;
    file.header.e_machine = EM_X86_64;
    file.header.e_phoff = offsetof(__typeof__(file), segment);
    file.header.e_phnum = 1;
    file.header.e_phentsize = sizeof file.segment;
    file.header.e_shoff = offsetof(__typeof__(file), sections);
    file.header.e_shnum = 3;
    file.header.e_shentsize = sizeof file.sections[0];
    file.segment.p_type = PT_LOAD;
    file.segment.p_filesz = sizeof file;
    file.sections[1].sh_type = SHT_DYNSYM;
    file.sections[1].sh_offset = offsetof(__typeof__(file), symbols);
    file.sections[1].sh_size = sizeof file.symbols;
    file.sections[1].sh_link = 2;
    file.sections[2].sh_type = SHT_STRTAB;
    file.sections[2].sh_offset = offsetof(__typeof__(file), names);
    file.sections[2].sh_size = sizeof file.names;
    file.symbols[1].st_name = 1;
    file.symbols[1].st_shndx = 1;
    file.symbols[1].st_value = offsetof(__typeof__(file), descriptor);
    memcpy(file.names + 1, "weir_job_descriptor", 20);
    file.descriptor.magic = WEIR_JOB_MAGIC;
    file.descriptor.abi_major = WEIR_ABI_MAJOR;
    put("job", &file, sizeof file);
    put("cut-off", &file, sizeof file - 8);
    file.header.e_type = ET_EXEC;
    put("program", &file, sizeof file.header);
    file.header.e_type = ET_DYN;
    file.descriptor.abi_major++;
    put("newer", &file, sizeof file);
    file.header.e_shnum = 0;
    put("no-sections", &file, sizeof file);
}
