/* See s3_xml.h. */
#include "store/s3_xml.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

/* Is there "<tag" or "</tag" (with or without a prefix) at `at`, up to the end of its name? Gives the byte behind the name. */
static const char *tag_at(const char *at, const char *end, bool closing, const char *tag)
{
    if (at >= end || *at++ != '<')
        return NULL;
    if (closing && (at >= end || *at++ != '/'))
        return NULL;
    const char *name = at;
    while (at < end && *at != '>' && *at != ' ' && *at != '/' && *at != '\t' && *at != '\n' && *at != '\r') {
        if (*at == ':')
            name = at + 1;
        at++;
    }
    return (size_t)(at - name) == strlen(tag) && memcmp(name, tag, strlen(tag)) == 0 && at < end ? at : NULL;
}

bool weir_xml_next(struct weir_xml *rest, const char *tag, struct weir_xml *inside)
{
    const char *at = rest->text, *end = rest->text + rest->size;
    for (; at < end; at++) {
        const char *name_end = tag_at(at, end, false, tag);
        if (!name_end)
            continue;
        const char *open_end = memchr(name_end, '>', (size_t)(end - name_end));
        if (!open_end)
            return false;
        if (open_end[-1] == '/') { /* <tag/> */
            *inside = (struct weir_xml){open_end + 1, 0};
            *rest = (struct weir_xml){open_end + 1, (size_t)(end - open_end - 1)};
            return true;
        }
        for (const char *close = open_end + 1; close < end; close++) {
            const char *close_end = *close == '<' ? tag_at(close, end, true, tag) : NULL;
            if (!close_end)
                continue;
            *inside = (struct weir_xml){open_end + 1, (size_t)(close - open_end - 1)};
            *rest = (struct weir_xml){close_end, (size_t)(end - close_end)};
            return true;
        }
        return false;
    }
    return false;
}

bool weir_xml_find(struct weir_xml in, const char *tag, struct weir_xml *inside)
{
    return weir_xml_next(&in, tag, inside);
}

static size_t put_utf8(unsigned long code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xC0, 0xE0, 0xF0};
    out[0] = (char)(lead[more] | (code >> (6 * more)));
    for (int i = 1; i <= more; i++)
        out[i] = (char)(0x80 | ((code >> (6 * (more - i))) & 0x3F));
    return (size_t)more + 1;
}

/* The entity at `at` ("&...;"): its size, and what it stands for; 0: none. */
static size_t entity(const char *at, size_t left, char out[4], size_t *out_size)
{
    static const struct {
        const char *name;
        char c;
    } named[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (left >= strlen(named[i].name) && memcmp(at, named[i].name, strlen(named[i].name)) == 0) {
            out[0] = named[i].c;
            *out_size = 1;
            return strlen(named[i].name);
        }
    char digits[16];
    const char *semicolon = memchr(at, ';', left < 12 ? left : 12);
    if (!semicolon || semicolon - at < 3 || at[1] != '#')
        return 0;
    bool hex = at[2] == 'x' || at[2] == 'X';
    size_t size = (size_t)(semicolon - at) - (hex ? 3 : 2);
    memcpy(digits, at + (hex ? 3 : 2), size);
    digits[size] = 0;
    char *rest;
    unsigned long code = strtoul(digits, &rest, hex ? 16 : 10);
    if (size == 0 || *rest || code == 0 || code > 0x10FFFF)
        return 0;
    *out_size = put_utf8(code, out);
    return (size_t)(semicolon - at) + 1;
}

bool weir_xml_text(struct weir_xml in, const char *tag, char *out, size_t size)
{
    weir_assert(size > 0);
    out[0] = 0;
    struct weir_xml inside;
    if (!weir_xml_find(in, tag, &inside))
        return false;
    size_t used = 0;
    for (size_t i = 0; i < inside.size;) {
        char bytes[4] = {inside.text[i]};
        size_t count = 1, taken = inside.text[i] == '&' ? entity(inside.text + i, inside.size - i, bytes, &count) : 1;
        if (taken == 0) {
            bytes[0] = '&';
            count = taken = 1;
        }
        if (used + count >= size)
            break;
        memcpy(out + used, bytes, count);
        used += count;
        i += taken;
    }
    out[used] = 0;
    return true;
}

bool weir_xml_escape(const char *text, char *out, size_t size)
{
    size_t used = 0;
    for (; *text; text++) {
        const char *as = *text == '&'    ? "&amp;"
                         : *text == '<'  ? "&lt;"
                         : *text == '>'  ? "&gt;"
                         : *text == '"'  ? "&quot;"
                         : *text == '\'' ? "&apos;"
                                         : NULL;
        size_t count = as ? strlen(as) : 1;
        if (used + count >= size)
            return false;
        memcpy(out + used, as ? as : text, count);
        used += count;
    }
    out[used] = 0;
    return true;
}
