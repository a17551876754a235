/* What simdjson alone needs to walk the readings of a file: CPU seconds per million rows, the better of iterate_many and line by line, best of three.
 * Reading the file into memory is included, as it is in a job.
 * usage: walk_file FILE (readings with text timestamps) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "simdjson_walk.h"

#define CHUNK ((size_t)1 << 20)

static double cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Chunks of whole lines, so that what is walked is in the cache, as a job's is. */
static size_t walk(const char *path, int (*walker)(const uint8_t *, size_t, int, struct walk_sums *), double *seconds)
{
    static uint8_t bytes[CHUNK + 64];
    size_t records = 0, kept = 0;
    double start = cpu_s();
    FILE *file = fopen(path, "r");
    if (!file)
        exit(1);
    setvbuf(file, NULL, _IONBF, 0);
    for (;;) {
        size_t got = fread(bytes + kept, 1, CHUNK - kept, file), size = kept + got;
        if (size == 0)
            break;
        size_t whole = size;
        while (whole > 0 && bytes[whole - 1] != '\n')
            whole--;
        memset(bytes + size, ' ', 64);
        struct walk_sums sums;
        if (whole == 0 || walker(bytes, whole, 1, &sums) != 0)
            exit(1);
        records += sums.records;
        kept = size - whole;
        memmove(bytes, bytes + whole, kept);
    }
    fclose(file);
    *seconds = cpu_s() - start;
    return records;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    double best = 1e9, seconds;
    size_t records = 0;
    for (int run = 0; run < 3; run++) {
        records = walk(argv[1], simdjson_walk_many, &seconds);
        best = seconds < best ? seconds : best;
        walk(argv[1], simdjson_walk_lines, &seconds);
        best = seconds < best ? seconds : best;
    }
    printf("%.4f CPU s per million rows (%zu rows)\n", best * 1e6 / (double)records, records);
    return 0;
}
