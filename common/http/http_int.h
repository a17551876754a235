/* What http_client.c and http_engine.c share: libcurl's start, and one wording for what went wrong. */
#ifndef WEIR_HTTP_HTTP_INT_H
#define WEIR_HTTP_HTTP_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct weir_http_trouble {
    int code;   /* CURLcode, not CURLE_OK */
    void *curl; /* CURL */
    const char *url;
    bool full; /* the answer was larger than size_max */
    int64_t size_max;
    int write_errno; /* the answer could not be stored; 0: it could */
    int timeout_ms;
    const char *detail;             /* CURLOPT_ERRORBUFFER */
    const char *ca_option;          /* which option says whose certificates are believed; NULL: the cluster's own */
    const char *certificate_option; /* which one names ours; NULL: we have none, ever */
    bool certificate_given;
};

void weir_http_init(void); /* of libcurl, once; any thread */
weir_err weir_http_explain(const struct weir_http_trouble *trouble, struct weir_error *error);

#endif
