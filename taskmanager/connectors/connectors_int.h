/* Private to taskmanager/connectors: the entries of the table. */
#ifndef WEIR_TASKMANAGER_CONNECTORS_INT_H
#define WEIR_TASKMANAGER_CONNECTORS_INT_H

#include "connectors/connector.h"

extern const struct weir_connector weir_connector_blackhole;
extern const struct weir_connector weir_connector_datagen;
extern const struct weir_connector weir_connector_filesystem;
extern const struct weir_connector weir_connector_host;
extern const struct weir_connector weir_connector_kafka;
extern const struct weir_connector weir_connector_print;
extern const struct weir_connector weir_connector_socket;

/* Rows that blackhole writers of this process have swallowed (benches and tests). */
uint64_t weir_blackhole_rows(void);

#endif
