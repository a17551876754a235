/* The XML that S3 and STS answer with: flat, small, from a server that is not trusted to be well. Text is found by tag name, wherever it is;
 * nothing is allocated but results; anything that is not found is simply not there. */
#ifndef WEIR_STORE_S3_XML_H
#define WEIR_STORE_S3_XML_H

#include <stdbool.h>
#include <stddef.h>

struct weir_xml { /* a part of a document; not 0-terminated */
    const char *text;
    size_t size;
};

/* The inside of the first <tag>...</tag> (attributes and a prefix "ns:" are passed over); false: none. */
bool weir_xml_find(struct weir_xml in, const char *tag, struct weir_xml *inside);
/* The next one: `rest` begins as the document and is moved behind what was found. */
bool weir_xml_next(struct weir_xml *rest, const char *tag, struct weir_xml *inside);
/* The text of the first <tag>, entities resolved, cut to size; false and "": none. */
bool weir_xml_text(struct weir_xml in, const char *tag, char *out, size_t size);
/* Writes `text` with & < > " ' as entities; false: no room. */
bool weir_xml_escape(const char *text, char *out, size_t size);

#endif
