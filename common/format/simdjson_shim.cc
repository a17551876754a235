// The C++ side of simdjson_shim.h: everything that needs simdjson or <charconv>, and nothing else. Compiled without
// exceptions; simdjson reports by error codes.
#include "format/simdjson_shim.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <system_error>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wcast-align"
#include <simdjson.h>
#pragma GCC diagnostic pop

extern "C" [[noreturn]] void weir_out_of_memory(size_t size); // base/mem.h, which is C only

struct weir_json_index {
    std::unique_ptr<simdjson::internal::dom_parser_implementation> stage1;
    size_t capacity = 0;
};

static const size_t capacity_min = 64 * 1024;
static const size_t depth_unused = 1; // stage 2 is ours: simdjson's own nesting stack stays small

extern "C" weir_json_index *weir_json_index_new(void)
{
    weir_json_index *index = new (std::nothrow) weir_json_index;
    if (!index)
        weir_out_of_memory(sizeof *index);
    return index;
}

extern "C" void weir_json_index_free(weir_json_index *index)
{
    delete index;
}

extern "C" weir_json_index_result weir_json_index_run(weir_json_index *index, const uint8_t *bytes, size_t size,
                                                      const uint32_t **positions, size_t *count)
{
    if (size > index->capacity) {
        size_t capacity = size < capacity_min ? capacity_min : size + size / 2;
        simdjson::error_code code = simdjson::get_active_implementation()->create_dom_parser_implementation(
            capacity, depth_unused, index->stage1);
        if (code == simdjson::MEMALLOC)
            weir_out_of_memory(capacity);
        if (code)
            return WEIR_JSON_INDEX_FAILED;
        index->capacity = capacity;
    }
    if (size == 0)
        return WEIR_JSON_INDEX_EMPTY;
    switch (index->stage1->stage1(bytes, size, simdjson::stage1_mode::regular)) {
    case simdjson::SUCCESS:
        break;
    case simdjson::EMPTY:
        return WEIR_JSON_INDEX_EMPTY;
    case simdjson::UTF8_ERROR:
        return WEIR_JSON_INDEX_UTF8;
    case simdjson::UNCLOSED_STRING:
        return WEIR_JSON_INDEX_STRING;
    case simdjson::UNESCAPED_CHARS:
        return WEIR_JSON_INDEX_CONTROL;
    default:
        return WEIR_JSON_INDEX_FAILED;
    }
    *positions = index->stage1->structural_indexes.get();
    *count = index->stage1->n_structural_indexes;
    return WEIR_JSON_INDEX_OK;
}

extern "C" bool weir_utf8_valid(const uint8_t *bytes, size_t size)
{
    return size == 0 || simdjson::validate_utf8(reinterpret_cast<const char *>(bytes), size);
}

// Is the magnitude of a JSON number that is out of range tiny (true) or huge?
static bool is_tiny(const char *text, size_t size)
{
    // Position of the first significant digit relative to the point, plus the written exponent.
    const char *p = text, *end = text + size;
    long long exponent = 0, written = 0;
    bool point = false, significant = false;
    for (; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            point = true;
        } else if (*p >= '0' && *p <= '9') {
            significant = significant || *p != '0';
            if (significant && !point)
                exponent++;
            else if (!significant && point)
                exponent--;
        }
    }
    if (p < end) {
        bool minus = p[1] == '-';
        for (p += 1 + (p[1] == '-' || p[1] == '+'); p < end && written < 1000000000000; p++)
            written = written * 10 + (*p - '0');
        exponent += minus ? -written : written;
    }
    return exponent < 0;
}

template <typename T> static bool parse(const char *text, size_t size, T *value)
{
    std::from_chars_result result = std::from_chars(text, text + size, *value);
    if (result.ec == std::errc() && result.ptr == text + size)
        return true;
    if (result.ec == std::errc::result_out_of_range && is_tiny(text, size)) {
        *value = size > 0 && text[0] == '-' ? -T(0) : T(0);
        return true;
    }
    return false;
}

extern "C" bool weir_double_parse(const char *text, size_t size, double *value)
{
    return parse(text, size, value);
}

extern "C" bool weir_float_parse(const char *text, size_t size, float *value)
{
    return parse(text, size, value);
}

template <typename T> static size_t print(T value, char *out)
{
    T magnitude = std::fabs(value);
    bool fixed = magnitude == 0 || (magnitude >= T(1e-5) && magnitude < T(1e16));
    std::to_chars_result result = fixed ? std::to_chars(out, out + 30, value, std::chars_format::fixed)
                                        : std::to_chars(out, out + 30, value, std::chars_format::scientific);
    if (result.ec != std::errc())
        abort(); // the longest is 25 bytes
    size_t size = static_cast<size_t>(result.ptr - out);
    if (fixed && !std::memchr(out, '.', size)) { // a reader that looks at the text sees a floating-point number
        out[size++] = '.';
        out[size++] = '0';
    }
    return size;
}

extern "C" size_t weir_double_print(double value, char out[32])
{
    return print(value, out);
}

extern "C" size_t weir_float_print(float value, char out[32])
{
    return print(value, out);
}
