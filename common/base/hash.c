/* Hashes. CRC-32C uses SSE4.2 or the ARMv8 CRC instructions where the processor has them (asked once); the portable form is slicing by 8. */
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/thread.h"

#define PIECE ((size_t)128 << 10) /* of much; between pieces others have the core: a tenth of a millisecond */

#if defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

uint64_t weir_xxh3(const void *bytes, size_t size)
{
    return XXH3_64bits(bytes, size);
}

/* --- CRC-32C (Castagnoli, reflected polynomial 0x82F63B78) */

static uint32_t crc_table[8][256];
static pthread_once_t crc_table_once = PTHREAD_ONCE_INIT;

static void make_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
        crc_table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int slice = 1; slice < 8; slice++)
            crc_table[slice][i] = crc_table[slice - 1][i] >> 8 ^ crc_table[0][crc_table[slice - 1][i] & 255];
}

uint32_t weir_crc32c_portable(uint32_t crc, const void *bytes, size_t size)
{
    pthread_once(&crc_table_once, make_crc_table);
    const uint8_t *p = bytes;
    crc = ~crc;
    for (; size >= 8; size -= 8, p += 8) {
        uint32_t low = crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
        crc = crc_table[7][low & 255] ^ crc_table[6][low >> 8 & 255] ^ crc_table[5][low >> 16 & 255] ^
              crc_table[4][low >> 24] ^ crc_table[3][p[4]] ^ crc_table[2][p[5]] ^ crc_table[1][p[6]] ^
              crc_table[0][p[7]];
    }
    for (; size; size--, p++)
        crc = crc >> 8 ^ crc_table[0][(crc ^ *p) & 255];
    return ~crc;
}

/* Product of two polynomials modulo that of CRC-32C, bits reflected: x^0 is the highest. a is not 0. */
static uint32_t crc_multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (uint32_t bit = 1u << 31;; bit >>= 1) {
        if (a & bit) {
            product ^= b;
            if ((a & (bit - 1)) == 0)
                return product;
        }
        b = b & 1 ? b >> 1 ^ 0x82F63B78u : b >> 1;
    }
}

/* x^(8 * bytes): what a checksum is multiplied with when so many bytes come behind it. */
static uint32_t crc_shift(uint64_t bytes)
{
    uint32_t shift = 1u << 31, square = 1u << 30; /* x^0, x^1 */
    for (uint64_t bits = bytes * 8; bits; bits >>= 1) {
        if (bits & 1)
            shift = crc_multiply(square, shift);
        square = crc_multiply(square, square);
    }
    return shift;
}

#if defined(__x86_64__)
#define CRC_TARGET __attribute__((target("sse4.2")))
#define crc_word(crc, word) ((uint32_t)__builtin_ia32_crc32di(crc, word))
#define crc_byte(crc, byte) __builtin_ia32_crc32qi(crc, byte)
static int has_crc(void)
{
    return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__)
#define CRC_TARGET __attribute__((target("+crc")))
#define crc_word(crc, word) __crc32cd(crc, word)
#define crc_byte(crc, byte) __crc32cb(crc, byte)
static int has_crc(void)
{
    return (getauxval(AT_HWCAP) & (1 << 7)) != 0; /* HWCAP_CRC32 */
}
#else
#define CRC_TARGET
#define crc_word(crc, word) ((void)(word), crc) /* never called */
#define crc_byte(crc, byte) ((void)(byte), crc)
static int has_crc(void)
{
    return 0;
}
#endif

/* The instruction takes three cycles, and could begin anew in each: three lanes beside each other are three times as fast as one. */
static const size_t lane_sizes[] = {8192, 512};
static uint32_t lane_shifts[2][4][256]; /* what each byte of a checksum becomes when a lane comes behind it */

static void make_lane_shifts(int kind)
{
    uint32_t shift = crc_shift(lane_sizes[kind]);
    for (int byte = 0; byte < 4; byte++)
        for (uint32_t value = 1; value < 256; value++) {
            uint32_t low = value & -value;
            lane_shifts[kind][byte][value] = value == low
                                                 ? crc_multiply(shift, value << (8 * byte))
                                                 : lane_shifts[kind][byte][value - low] ^ lane_shifts[kind][byte][low];
        }
}

static uint32_t shift_lane(int kind, uint32_t crc)
{
    uint32_t(*shifts)[256] = lane_shifts[kind];
    return shifts[0][crc & 255] ^ shifts[1][crc >> 8 & 255] ^ shifts[2][crc >> 16 & 255] ^ shifts[3][crc >> 24];
}

static uint64_t word_at(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

CRC_TARGET static uint32_t crc32c_hardware(uint32_t crc, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    crc = ~crc;
    for (int kind = 0; kind < 2; kind++) {
        size_t lane = lane_sizes[kind];
        for (; size >= 3 * lane; size -= 3 * lane, p += 3 * lane) {
            uint32_t second = 0, third = 0;
            for (size_t i = 0; i < lane; i += 8) {
                crc = crc_word(crc, word_at(p + i));
                second = crc_word(second, word_at(p + lane + i));
                third = crc_word(third, word_at(p + 2 * lane + i));
            }
            crc = shift_lane(kind, shift_lane(kind, crc) ^ second) ^ third;
        }
    }
    for (; size >= 8; size -= 8, p += 8)
        crc = crc_word(crc, word_at(p));
    for (; size; size--, p++)
        crc = crc_byte(crc, *p);
    return ~crc;
}

static uint32_t (*crc32c)(uint32_t, const void *, size_t) = weir_crc32c_portable;

__attribute__((constructor)) static void choose_crc(void)
{
    const char *wish = getenv("WEIR_SIMD"); /* "portable": as on a processor without the instruction */
    if (!has_crc() || (wish && strcmp(wish, "portable") == 0))
        return;
    for (int kind = 0; kind < 2; kind++)
        make_lane_shifts(kind);
    crc32c = crc32c_hardware;
}

uint32_t weir_crc32c(uint32_t crc, const void *bytes, size_t size)
{
    return crc32c(crc, bytes, size);
}

uint32_t weir_crc32c_background(const void *bytes, size_t size)
{
    uint32_t crc = 0;
    for (const uint8_t *at = bytes; size > 0; weir_thread_give_way()) {
        size_t piece = size < PIECE ? size : PIECE;
        crc = weir_crc32c(crc, at, piece);
        at += piece;
        size -= piece;
    }
    return crc;
}

uint32_t weir_crc32c_join(uint32_t a, uint32_t b, int64_t size_b)
{
    weir_assert(size_b >= 0);
    return crc_multiply(crc_shift((uint64_t)size_b), a) ^ b;
}

/* --- SHA-256 */

static void to_hex(const unsigned char *digest, char out[65])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 32; i++) {
        out[i * 2] = digits[digest[i] >> 4];
        out[i * 2 + 1] = digits[digest[i] & 15];
    }
    out[64] = 0;
}

void weir_sha256_hex(const void *bytes, size_t size, char out[65])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_size = 0;
    const uint8_t *at = bytes;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
    for (; ok && size > PIECE; at += PIECE, size -= PIECE) {
        ok = EVP_DigestUpdate(ctx, at, PIECE);
        weir_thread_give_way();
    }
    ok = ok && EVP_DigestUpdate(ctx, at, size) && EVP_DigestFinal_ex(ctx, digest, &digest_size);
    EVP_MD_CTX_free(ctx);
    if (!ok) /* the one way in which it can fail */
        weir_out_of_memory(0);
    weir_assert(digest_size == 32);
    to_hex(digest, out);
}

weir_err weir_sha256_file_hex(const char *path, char out[65], struct weir_error *error)
{
    weir_err err = WEIR_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return weir_fail_errno(error, errno == ENOENT ? WEIR_ERR_NOT_FOUND : WEIR_ERR_IO, "cannot open '%s'", path);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1)
        weir_out_of_memory(0);
    unsigned char bytes[65536];
    for (;;) {
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            err = weir_fail_errno(error, WEIR_ERR_IO, "cannot read '%s'", path);
            break;
        }
        if (n == 0)
            break;
        if (EVP_DigestUpdate(context, bytes, (size_t)n) != 1)
            weir_out_of_memory(0);
    }
    if (!err) {
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned int digest_size = 0;
        if (EVP_DigestFinal_ex(context, digest, &digest_size) != 1)
            weir_out_of_memory(0);
        to_hex(digest, out);
    }
    EVP_MD_CTX_free(context);
    close(fd);
    return err;
}
