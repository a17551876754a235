/* Schema files of formats ("protobuf.descriptor", "json.schema", ...) are read where the job's graph is built, and travel in it: executors run
 * on other hosts.
 *
 * An option of type WEIR_OPTION_FILE is the text itself (it begins with '{', '[', '"' or "base64:", or holds ';' or a line end), or the path of a
 * file, whose content takes its place: as it is, or behind "base64:" where the option's choices say "binary".
 */
#ifndef WEIR_EXECUTOR_OPTION_FILES_H
#define WEIR_EXECUTOR_OPTION_FILES_H

#include "graph.pb-c.h"
#include "graph/graph_errors.h"

/* Reads files: blocks. What cannot be read is an error of its vertex. Doing it again changes nothing. */
void weir_option_files_read(Weir__JobGraph *graph, struct weir_graph_errors *errors);

#endif
