/* The configuration file. Input: the file. What it sets can be read by every key's own reader, and a job's overlay takes it, too. */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/config.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct weir_error error;
    struct weir_config *config = NULL;
    char path[64];
    int fd = memfd_create("config", MFD_CLOEXEC);
    fuzz_check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (!weir_config_load(path, NULL, NULL, 0, &config, &error)) {
        for (const struct weir_option *option = weir_config_table; option->name; option++) {
            (void)weir_config_string(config, option->name);
            fuzz_check(weir_config_origin(config, option->name));
            if (option->type == WEIR_OPTION_DOUBLE)
                (void)weir_config_double(config, option->name);
            else if (option->type != WEIR_OPTION_STRING && option->type != WEIR_OPTION_ENUM)
                (void)weir_config_int(config, option->name);
        }
        weir_config_free(config);
    } else {
        fuzz_check(error.message[0]);
    }
    close(fd);
    return 0;
}
