/* Digests and encodings of text and bytes, row by row. */
#include <ctype.h>
#include <errno.h>
#include <iconv.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "base/assert.h"
#include "expr/functions_int.h"

static enum fn_result hex(struct call *call, const uint8_t *s, size_t n, bool upper, struct value *out)
{
    const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    uint8_t *to = eval_tmp(call->eval, 2 * n + 1);
    for (size_t i = 0; i < n; i++) {
        to[2 * i] = (uint8_t)digits[s[i] >> 4];
        to[2 * i + 1] = (uint8_t)digits[s[i] & 15];
    }
    out->s = to;
    out->n = 2 * n;
    return FN_OK;
}

static enum fn_result digest(struct call *call, const struct value *a, struct value *out, const EVP_MD *md)
{
    uint8_t made[EVP_MAX_MD_SIZE];
    unsigned size;
    if (EVP_Digest(a->s ? a->s : (const uint8_t *)"", a->n, made, &size, md, NULL) != 1)
        weir_out_of_memory(0);
    return hex(call, made, size, false, out);
}

ROW_FN(fn_md5)
{
    return digest(call, a, out, EVP_md5());
}
ROW_FN(fn_sha1)
{
    return digest(call, a, out, EVP_sha1());
}
ROW_FN(fn_sha224)
{
    return digest(call, a, out, EVP_sha224());
}
ROW_FN(fn_sha256)
{
    return digest(call, a, out, EVP_sha256());
}
ROW_FN(fn_sha384)
{
    return digest(call, a, out, EVP_sha384());
}
ROW_FN(fn_sha512)
{
    return digest(call, a, out, EVP_sha512());
}
ROW_FN(fn_sha2)
{
    switch (a[1].i) {
    case 224:
        return fn_sha224(call, a, out);
    case 0:
    case 256:
        return fn_sha256(call, a, out);
    case 384:
        return fn_sha384(call, a, out);
    case 512:
        return fn_sha512(call, a, out);
    default:
        snprintf(call->why, sizeof call->why, "SHA2 has 224, 256, 384 and 512 bits, not %lld", (long long)a[1].i);
        return FN_FAIL;
    }
}

ROW_FN(fn_to_base64)
{
    if (a->n > EXPR_VALUE_SIZE_MAX)
        return FN_NULL;
    uint8_t *to = eval_tmp(call->eval, a->n / 3 * 4 + 8);
    out->n = a->n ? (size_t)EVP_EncodeBlock(to, a->s, (int)a->n) : 0;
    out->s = to;
    return FN_OK;
}

static int base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

ROW_FN(fn_from_base64)
{
    uint8_t *to = eval_tmp(call->eval, a->n + 4);
    size_t n = 0, size = a->n;
    while (size > 0 && a->n - size < 2 && a->s[size - 1] == '=')
        size--;
    uint32_t bits = 0;
    bool good = size % 4 != 1;
    for (size_t i = 0; i < size && good; i++) {
        int v = base64_value(a->s[i]);
        good = v >= 0;
        bits = bits << 6 | (uint32_t)(v & 63);
        if (i % 4 > 0)
            to[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    if (!good) {
        snprintf(call->why, sizeof call->why, "'%.*s' is not base64", a->n > 60 ? 60 : (int)a->n, (const char *)a->s);
        return FN_FAIL;
    }
    out->s = to;
    out->n = n;
    return FN_OK;
}

static enum fn_result recode(struct call *call, const struct value *a, const struct value *charset, bool from,
                             struct value *out)
{
    char name[40];
    if (charset->n == 0 || charset->n >= sizeof name)
        return FN_NULL;
    memcpy(name, charset->s, charset->n);
    name[charset->n] = '\0';
    for (size_t i = 0; i < charset->n; i++) { /* "//IGNORE" and the like are iconv's, not a character set's */
        if (!isalnum((unsigned char)name[i]) && name[i] != '-' && name[i] != '_')
            name[0] = '?';
    }
    iconv_t conversion = iconv_open(from ? "UTF-8" : name, from ? name : "UTF-8");
    if (conversion == (iconv_t)-1) {
        snprintf(call->why, sizeof call->why, "there is no character set '%.40s'", name);
        return FN_FAIL;
    }
    size_t capacity = a->n * 4 + 16, left = capacity, in_left = a->n;
    uint8_t *to = eval_tmp(call->eval, capacity);
    char *in = (char *)(uintptr_t)a->s, *next = (char *)to;
    while (in_left > 0 && iconv(conversion, &in, &in_left, &next, &left) == (size_t)-1) {
        if (errno == E2BIG || left < 4)
            break;
        in++; /* what has no place in the other set becomes '?' */
        in_left--;
        *next++ = '?';
        left--;
    }
    iconv_close(conversion);
    out->s = to;
    out->n = capacity - left;
    return FN_OK;
}
ROW_FN(fn_encode)
{
    return recode(call, a, &a[1], false, out);
}
ROW_FN(fn_decode)
{
    return recode(call, a, &a[1], true, out);
}

static enum fn_result digits_of(struct call *call, uint64_t n, unsigned base, struct value *out)
{
    uint8_t *to = eval_tmp(call->eval, 80), *p = to + 80;
    do {
        *--p = (uint8_t) "0123456789ABCDEF"[n % base];
        n /= base;
    } while (n > 0);
    out->s = p;
    out->n = (size_t)(to + 80 - p);
    return FN_OK;
}
ROW_FN(fn_hex_int)
{
    return digits_of(call, (uint64_t)a->i, 16, out);
}
ROW_FN(fn_bin)
{
    return digits_of(call, (uint64_t)a->i, 2, out);
}
ROW_FN(fn_hex_bytes)
{
    return hex(call, a->s, a->n, true, out);
}

ROW_FN(fn_unhex)
{
    uint8_t *to = eval_tmp(call->eval, a->n / 2 + 2);
    size_t n = 0;
    int high = a->n % 2 ? 0 : -1;
    for (size_t i = 0; i < a->n; i++) {
        uint8_t c = a->s[i];
        if (!isxdigit(c))
            return FN_NULL;
        int v = isdigit(c) ? c - '0' : tolower(c) - 'a' + 10;
        if (high < 0) {
            high = v;
        } else {
            to[n++] = (uint8_t)(high << 4 | v);
            high = -1;
        }
    }
    out->s = to;
    out->n = n;
    return FN_OK;
}
