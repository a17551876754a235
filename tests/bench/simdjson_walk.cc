// simdjson's on-demand interface over the benchmark's readings, as its documentation shows it. Compile it with -march=native to give
// it its best kernels.
#include "tests/bench/simdjson_walk.h"

#include <cstring>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wcast-align"
#include <simdjson.h>
#pragma GCC diagnostic pop

using namespace simdjson;

template <typename T> static error_code touch(T &&document, bool time_is_text, walk_sums *sums)
{
    ondemand::object object;
    std::string_view id, time;
    double temperature;
    bool abnormal;
    int64_t ms;
    SIMDJSON_TRY(document.get_object().get(object));
    SIMDJSON_TRY(object["device_id"].get_string().get(id));
    SIMDJSON_TRY(object["temperature"].get_double().get(temperature));
    SIMDJSON_TRY(object["is_abnormal"].get_bool().get(abnormal));
    if (time_is_text) {
        SIMDJSON_TRY(object["timestamp"].get_string().get(time));
        sums->time += static_cast<int64_t>(time.size());
    } else {
        SIMDJSON_TRY(object["timestamp"].get_int64().get(ms));
        sums->time += ms;
    }
    sums->records++;
    sums->id_bytes += id.size();
    sums->temperature += temperature;
    sums->abnormal += abnormal;
    return SUCCESS;
}

extern "C" int simdjson_walk_many(const uint8_t *bytes, size_t size, int time_is_text, walk_sums *sums)
{
    ondemand::parser parser;
    ondemand::document_stream stream;
#ifdef SIMDJSON_THREADS_ENABLED
    parser.threaded = false; // one core against one core
#endif
    *sums = walk_sums();
    error_code code = parser.iterate_many(bytes, size, 1 << 20).get(stream);
    if (code)
        return code;
    for (auto document : stream) {
        code = touch(document, time_is_text, sums);
        if (code)
            return code;
    }
    return 0;
}

extern "C" int simdjson_walk_lines(const uint8_t *bytes, size_t size, int time_is_text, walk_sums *sums)
{
    ondemand::parser parser;
    *sums = walk_sums();
    for (size_t at = 0; at < size;) {
        const void *newline = memchr(bytes + at, '\n', size - at);
        size_t line = newline ? static_cast<size_t>(static_cast<const uint8_t *>(newline) - bytes) - at : size - at;
        ondemand::document document;
        error_code code = parser.iterate(bytes + at, line, line + SIMDJSON_PADDING).get(document);
        if (!code)
            code = touch(document, time_is_text, sums);
        if (code)
            return code;
        at += line + 1;
    }
    return 0;
}
