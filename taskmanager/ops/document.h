/* docs/connectors.md, generated. */
#ifndef WEIR_OPS_DOCUMENT_H
#define WEIR_OPS_DOCUMENT_H

#include "base/mem.h"
#include "base/error.h"

/* Appends the document; FULL. */
weir_err weir_connectors_document(struct weir_buf *out, struct weir_error *error);

#endif
