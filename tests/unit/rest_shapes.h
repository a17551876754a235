/* Fields and their types (s, i, f, b, n) of Apache Flink 1.20.5's replies, derived from recorded exchanges. A list shows what all
   its elements have in common. */
#ifndef WEIR_TESTS_REST_SHAPES_H
#define WEIR_TESTS_REST_SHAPES_H

static const struct {
    const char *name, *shape;
} rest_shapes[] = {
    {"overview",
     "{\"taskmanagers\":\"i\",\"slots-total\":\"i\",\"slots-available\":\"i\",\"jobs-running\":\"i\",\"jobs-finished"
     "\":\"i\",\"jobs-cancelled\":\"i\",\"jobs-failed\":\"i\",\"flink-version\":\"s\",\"flink-commit\":\"s\"}"},
    {"config",
     "{\"refresh-interval\":\"i\",\"timezone-name\":\"s\",\"timezone-offset\":\"i\",\"flink-version\":\"s\",\"flink-"
     "revision\":\"s\",\"features\":{\"web-submit\":\"b\",\"web-cancel\":\"b\",\"web-rescale\":\"b\",\"web-history\""
     ":\"b\"}}"},
    {"jobs", "{\"jobs\":[{\"id\":\"s\",\"status\":\"s\"}]}"},
    {"jobs_overview",
     "{\"jobs\":[{\"jid\":\"s\",\"name\":\"s\",\"start-time\":\"i\",\"end-time\":\"i\",\"duration\":\"i\",\"state\":"
     "\"s\",\"last-modification\":\"i\",\"tasks\":{\"running\":\"i\",\"canceling\":\"i\",\"canceled\":\"i\",\"total\""
     ":\"i\",\"created\":\"i\",\"scheduled\":\"i\",\"deploying\":\"i\",\"reconciling\":\"i\",\"finished\":\"i\",\"in"
     "itializing\":\"i\",\"failed\":\"i\"}}]}"},
    {"job",
     "{\"jid\":\"s\",\"name\":\"s\",\"isStoppable\":\"b\",\"state\":\"s\",\"job-type\":\"s\",\"start-time\":\"i\",\""
     "end-time\":\"i\",\"duration\":\"i\",\"maxParallelism\":\"i\",\"now\":\"i\",\"timestamps\":{\"CREATED\":\"i\",\""
     "RUNNING\":\"i\",\"FAILING\":\"i\",\"SUSPENDED\":\"i\",\"INITIALIZING\":\"i\",\"FAILED\":\"i\",\"RECONCILING\":"
     "\"i\",\"CANCELLING\":\"i\",\"FINISHED\":\"i\",\"CANCELED\":\"i\",\"RESTARTING\":\"i\"},\"vertices\":[{\"id\":\""
     "s\",\"slotSharingGroupId\":\"s\",\"name\":\"s\",\"maxParallelism\":\"i\",\"parallelism\":\"i\",\"status\":\"s\""
     ",\"start-time\":\"i\",\"end-time\":\"i\",\"duration\":\"i\",\"tasks\":{\"INITIALIZING\":\"i\",\"CREATED\":\"i\""
     ",\"DEPLOYING\":\"i\",\"CANCELED\":\"i\",\"FAILED\":\"i\",\"RUNNING\":\"i\",\"FINISHED\":\"i\",\"RECONCILING\":"
     "\"i\",\"SCHEDULED\":\"i\",\"CANCELING\":\"i\"},\"metrics\":{\"read-bytes\":\"i\",\"read-bytes-complete\":\"b\""
     ",\"write-bytes\":\"i\",\"write-bytes-complete\":\"b\",\"read-records\":\"i\",\"read-records-complete\":\"b\",\""
     "write-records\":\"i\",\"write-records-complete\":\"b\",\"accumulated-backpressured-time\":\"i\",\"accumulated-"
     "idle-time\":\"i\",\"accumulated-busy-time\":\"f\"}}],\"status-counts\":{\"INITIALIZING\":\"i\",\"CREATED\":\"i"
     "\",\"DEPLOYING\":\"i\",\"CANCELED\":\"i\",\"FAILED\":\"i\",\"RUNNING\":\"i\",\"FINISHED\":\"i\",\"RECONCILING\""
     ":\"i\",\"SCHEDULED\":\"i\",\"CANCELING\":\"i\"},\"plan\":{\"jid\":\"s\",\"name\":\"s\",\"type\":\"s\",\"nodes\""
     ":[{\"id\":\"s\",\"parallelism\":\"i\",\"operator\":\"s\",\"operator_strategy\":\"s\",\"description\":\"s\",\"o"
     "ptimizer_properties\":{}}]}}"},
    {"job_running",
     "{\"jid\":\"s\",\"name\":\"s\",\"isStoppable\":\"b\",\"state\":\"s\",\"job-type\":\"s\",\"start-time\":\"i\",\""
     "end-time\":\"i\",\"duration\":\"i\",\"maxParallelism\":\"i\",\"now\":\"i\",\"timestamps\":{\"CREATED\":\"i\",\""
     "RUNNING\":\"i\",\"FAILING\":\"i\",\"SUSPENDED\":\"i\",\"INITIALIZING\":\"i\",\"FAILED\":\"i\",\"RECONCILING\":"
     "\"i\",\"CANCELLING\":\"i\",\"FINISHED\":\"i\",\"CANCELED\":\"i\",\"RESTARTING\":\"i\"},\"vertices\":[{\"id\":\""
     "s\",\"slotSharingGroupId\":\"s\",\"name\":\"s\",\"maxParallelism\":\"i\",\"parallelism\":\"i\",\"status\":\"s\""
     ",\"start-time\":\"i\",\"end-time\":\"i\",\"duration\":\"i\",\"tasks\":{\"INITIALIZING\":\"i\",\"CREATED\":\"i\""
     ",\"DEPLOYING\":\"i\",\"CANCELED\":\"i\",\"FAILED\":\"i\",\"RUNNING\":\"i\",\"FINISHED\":\"i\",\"RECONCILING\":"
     "\"i\",\"SCHEDULED\":\"i\",\"CANCELING\":\"i\"},\"metrics\":{\"read-bytes\":\"i\",\"read-bytes-complete\":\"b\""
     ",\"write-bytes\":\"i\",\"write-bytes-complete\":\"b\",\"read-records\":\"i\",\"read-records-complete\":\"b\",\""
     "write-records\":\"i\",\"write-records-complete\":\"b\",\"accumulated-backpressured-time\":\"i\",\"accumulated-"
     "idle-time\":\"i\",\"accumulated-busy-time\":\"f\"}}],\"status-counts\":{\"INITIALIZING\":\"i\",\"CREATED\":\"i"
     "\",\"DEPLOYING\":\"i\",\"CANCELED\":\"i\",\"FAILED\":\"i\",\"RUNNING\":\"i\",\"FINISHED\":\"i\",\"RECONCILING\""
     ":\"i\",\"SCHEDULED\":\"i\",\"CANCELING\":\"i\"},\"plan\":{\"jid\":\"s\",\"name\":\"s\",\"type\":\"s\",\"nodes\""
     ":[{\"id\":\"s\",\"parallelism\":\"i\",\"operator\":\"s\",\"operator_strategy\":\"s\",\"description\":\"s\",\"o"
     "ptimizer_properties\":{}}]}}"},
    {"plan",
     "{\"plan\":{\"jid\":\"s\",\"name\":\"s\",\"type\":\"s\",\"nodes\":[{\"id\":\"s\",\"parallelism\":\"i\",\"operat"
     "or\":\"s\",\"operator_strategy\":\"s\",\"description\":\"s\",\"optimizer_properties\":{}}]}}"},
    {"job_config",
     "{\"jid\":\"s\",\"name\":\"s\",\"execution-config\":{\"execution-mode\":\"s\",\"restart-strategy\":\"s\",\"job-"
     "parallelism\":\"i\",\"object-reuse-mode\":\"b\",\"user-config\":{}}}"},
    {"exceptions",
     "{\"root-exception\":\"s\",\"timestamp\":\"i\",\"all-exceptions\":[{\"exception\":\"s\",\"task\":\"s\",\"locati"
     "on\":\"s\",\"endpoint\":\"s\",\"timestamp\":\"i\",\"taskManagerId\":\"s\"}],\"truncated\":\"b\",\"exceptionHis"
     "tory\":{\"entries\":[{\"exceptionName\":\"s\",\"stacktrace\":\"s\",\"timestamp\":\"i\",\"failureLabels\":{},\""
     "concurrentExceptions\":[],\"taskName\":\"s\",\"location\":\"s\",\"endpoint\":\"s\",\"taskManagerId\":\"s\"}],\""
     "truncated\":\"b\"}}"},
    {"status", "{\"status\":\"s\"}"},
    {"accumulators",
     "{\"job-accumulators\":[],\"user-task-accumulators\":[],\"serialized-user-task-accumulators\":{}}"},
    {"vertex",
     "{\"id\":\"s\",\"name\":\"s\",\"parallelism\":\"i\",\"maxParallelism\":\"i\",\"now\":\"i\",\"subtasks\":[{\"sub"
     "task\":\"i\",\"status\":\"s\",\"attempt\":\"i\",\"host\":\"s\",\"endpoint\":\"s\",\"start-time\":\"i\",\"end-t"
     "ime\":\"i\",\"duration\":\"i\",\"metrics\":{\"read-bytes\":\"i\",\"read-bytes-complete\":\"b\",\"write-bytes\""
     ":\"i\",\"write-bytes-complete\":\"b\",\"read-records\":\"i\",\"read-records-complete\":\"b\",\"write-records\""
     ":\"i\",\"write-records-complete\":\"b\",\"accumulated-backpressured-time\":\"i\",\"accumulated-idle-time\":\"i"
     "\",\"accumulated-busy-time\":\"f\"},\"taskmanager-id\":\"s\",\"status-duration\":{},\"start_time\":\"i\"}],\"a"
     "ggregated\":{\"metrics\":{\"write-records\":{\"p25\":\"i\",\"min\":\"i\",\"avg\":\"i\",\"median\":\"i\",\"max\""
     ":\"i\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":\"i\"},\"accumulated-backpressured-time\":{\"p25\":\"i\",\"min\":\""
     "i\",\"avg\":\"i\",\"median\":\"i\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":\"i\"},\"accumulated-idle"
     "-time\":{\"p25\":\"i\",\"min\":\"i\",\"avg\":\"i\",\"median\":\"i\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\"i\","
     "\"p75\":\"i\"},\"write-bytes\":{\"p25\":\"i\",\"min\":\"i\",\"avg\":\"i\",\"median\":\"i\",\"max\":\"i\",\"sum"
     "\":\"i\",\"p95\":\"i\",\"p75\":\"i\"},\"read-bytes\":{\"p25\":\"i\",\"min\":\"i\",\"avg\":\"i\",\"median\":\"i"
     "\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":\"i\"},\"read-records\":{\"p25\":\"i\",\"min\":\"i\",\"av"
     "g\":\"i\",\"median\":\"i\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":\"i\"},\"accumulated-busy-time\":"
     "{\"p25\":\"i\",\"min\":\"i\",\"avg\":\"i\",\"median\":\"i\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":"
     "\"i\"}},\"status-duration\":{\"CREATED\":{\"p25\":\"i\",\"min\":\"i\",\"avg\":\"i\",\"median\":\"i\",\"max\":\""
     "i\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":\"i\"},\"RUNNING\":{\"p25\":\"i\",\"min\":\"i\",\"avg\":\"i\",\"median"
     "\":\"i\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":\"i\"},\"INITIALIZING\":{\"p25\":\"i\",\"min\":\"i\""
     ",\"avg\":\"i\",\"median\":\"i\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":\"i\"},\"SCHEDULED\":{\"p25\""
     ":\"i\",\"min\":\"i\",\"avg\":\"i\",\"median\":\"i\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":\"i\"},\""
     "DEPLOYING\":{\"p25\":\"i\",\"min\":\"i\",\"avg\":\"i\",\"median\":\"i\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\""
     "i\",\"p75\":\"i\"}}}}"},
    {"subtasktimes",
     "{\"id\":\"s\",\"name\":\"s\",\"now\":\"i\",\"subtasks\":[{\"subtask\":\"i\",\"host\":\"s\",\"endpoint\":\"s\","
     "\"duration\":\"i\",\"timestamps\":{\"INITIALIZING\":\"i\",\"CREATED\":\"i\",\"DEPLOYING\":\"i\",\"CANCELED\":\""
     "i\",\"FAILED\":\"i\",\"RUNNING\":\"i\",\"FINISHED\":\"i\",\"RECONCILING\":\"i\",\"SCHEDULED\":\"i\",\"CANCELIN"
     "G\":\"i\"}}]}"},
    {"vertex_accumulators", "{\"id\":\"s\",\"user-accumulators\":[]}"},
    {"subtask_accumulators",
     "{\"id\":\"s\",\"parallelism\":\"i\",\"subtasks\":[{\"subtask\":\"i\",\"attempt\":\"i\",\"host\":\"s\",\"endpoi"
     "nt\":\"s\",\"user-accumulators\":[]}]}"},
    {"vertex_taskmanagers",
     "{\"id\":\"s\",\"name\":\"s\",\"now\":\"i\",\"taskmanagers\":[{\"host\":\"s\",\"endpoint\":\"s\",\"status\":\"s"
     "\",\"start-time\":\"i\",\"end-time\":\"i\",\"duration\":\"i\",\"metrics\":{\"read-bytes\":\"i\",\"read-bytes-c"
     "omplete\":\"b\",\"write-bytes\":\"i\",\"write-bytes-complete\":\"b\",\"read-records\":\"i\",\"read-records-com"
     "plete\":\"b\",\"write-records\":\"i\",\"write-records-complete\":\"b\",\"accumulated-backpressured-time\":\"i\""
     ",\"accumulated-idle-time\":\"i\",\"accumulated-busy-time\":\"f\"},\"status-counts\":{\"INITIALIZING\":\"i\",\""
     "CREATED\":\"i\",\"DEPLOYING\":\"i\",\"CANCELED\":\"i\",\"FAILED\":\"i\",\"RUNNING\":\"i\",\"FINISHED\":\"i\",\""
     "RECONCILING\":\"i\",\"SCHEDULED\":\"i\",\"CANCELING\":\"i\"},\"taskmanager-id\":\"s\",\"aggregated\":{\"metric"
     "s\":{\"write-records\":{\"p25\":\"i\",\"min\":\"i\",\"avg\":\"i\",\"median\":\"i\",\"max\":\"i\",\"sum\":\"i\""
     ",\"p95\":\"i\",\"p75\":\"i\"},\"accumulated-backpressured-time\":{\"p25\":\"i\",\"min\":\"i\",\"avg\":\"i\",\""
     "median\":\"i\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":\"i\"},\"accumulated-idle-time\":{\"p25\":\"i"
     "\",\"min\":\"i\",\"avg\":\"i\",\"median\":\"i\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":\"i\"},\"wri"
     "te-bytes\":{\"p25\":\"i\",\"min\":\"i\",\"avg\":\"i\",\"median\":\"i\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\"i"
     "\",\"p75\":\"i\"},\"read-bytes\":{\"p25\":\"i\",\"min\":\"i\",\"avg\":\"i\",\"median\":\"i\",\"max\":\"i\",\"s"
     "um\":\"i\",\"p95\":\"i\",\"p75\":\"i\"},\"read-records\":{\"p25\":\"i\",\"min\":\"i\",\"avg\":\"i\",\"median\""
     ":\"i\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":\"i\"},\"accumulated-busy-time\":{\"p25\":\"i\",\"min"
     "\":\"i\",\"avg\":\"i\",\"median\":\"i\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":\"i\"}},\"status-dur"
     "ation\":{\"CREATED\":{\"p25\":\"i\",\"min\":\"i\",\"avg\":\"i\",\"median\":\"i\",\"max\":\"i\",\"sum\":\"i\",\""
     "p95\":\"i\",\"p75\":\"i\"},\"RUNNING\":{\"p25\":\"i\",\"min\":\"i\",\"avg\":\"i\",\"median\":\"i\",\"max\":\"i"
     "\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":\"i\"},\"INITIALIZING\":{\"p25\":\"i\",\"min\":\"i\",\"avg\":\"i\",\"me"
     "dian\":\"i\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":\"i\"},\"SCHEDULED\":{\"p25\":\"i\",\"min\":\"i"
     "\",\"avg\":\"i\",\"median\":\"i\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":\"i\"},\"DEPLOYING\":{\"p2"
     "5\":\"i\",\"min\":\"i\",\"avg\":\"i\",\"median\":\"i\",\"max\":\"i\",\"sum\":\"i\",\"p95\":\"i\",\"p75\":\"i\""
     "}}}}]}"},
    {"subtask",
     "{\"subtask\":\"i\",\"status\":\"s\",\"attempt\":\"i\",\"host\":\"s\",\"endpoint\":\"s\",\"start-time\":\"i\",\""
     "end-time\":\"i\",\"duration\":\"i\",\"metrics\":{\"read-bytes\":\"i\",\"read-bytes-complete\":\"b\",\"write-by"
     "tes\":\"i\",\"write-bytes-complete\":\"b\",\"read-records\":\"i\",\"read-records-complete\":\"b\",\"write-reco"
     "rds\":\"i\",\"write-records-complete\":\"b\",\"accumulated-backpressured-time\":\"i\",\"accumulated-idle-time\""
     ":\"i\",\"accumulated-busy-time\":\"f\"},\"taskmanager-id\":\"s\",\"status-duration\":{},\"start_time\":\"i\"}"},
    {"result_finished",
     "{\"status\":{\"id\":\"s\"},\"job-execution-result\":{\"id\":\"s\",\"application-status\":\"s\",\"accumulator-r"
     "esults\":{},\"net-runtime\":\"i\"}}"},
    {"result_running", "{\"status\":{\"id\":\"s\"}}"},
    {"taskmanagers",
     "{\"taskmanagers\":[{\"id\":\"s\",\"path\":\"s\",\"dataPort\":\"i\",\"jmxPort\":\"i\",\"timeSinceLastHeartbeat\""
     ":\"i\",\"slotsNumber\":\"i\",\"freeSlots\":\"i\",\"totalResource\":{\"cpuCores\":\"f\",\"taskHeapMemory\":\"i\""
     ",\"taskOffHeapMemory\":\"i\",\"managedMemory\":\"i\",\"networkMemory\":\"i\",\"extendedResources\":{}},\"freeR"
     "esource\":{\"cpuCores\":\"f\",\"taskHeapMemory\":\"i\",\"taskOffHeapMemory\":\"i\",\"managedMemory\":\"i\",\"n"
     "etworkMemory\":\"i\",\"extendedResources\":{}},\"hardware\":{\"cpuCores\":\"i\",\"physicalMemory\":\"i\",\"fre"
     "eMemory\":\"i\",\"managedMemory\":\"i\"},\"memoryConfiguration\":{\"frameworkHeap\":\"i\",\"taskHeap\":\"i\",\""
     "frameworkOffHeap\":\"i\",\"taskOffHeap\":\"i\",\"networkMemory\":\"i\",\"managedMemory\":\"i\",\"jvmMetaspace\""
     ":\"i\",\"jvmOverhead\":\"i\",\"totalFlinkMemory\":\"i\",\"totalProcessMemory\":\"i\"}}]}"},
    {"taskmanager",
     "{\"id\":\"s\",\"path\":\"s\",\"dataPort\":\"i\",\"jmxPort\":\"i\",\"timeSinceLastHeartbeat\":\"i\",\"slotsNumb"
     "er\":\"i\",\"freeSlots\":\"i\",\"totalResource\":{\"cpuCores\":\"f\",\"taskHeapMemory\":\"i\",\"taskOffHeapMem"
     "ory\":\"i\",\"managedMemory\":\"i\",\"networkMemory\":\"i\",\"extendedResources\":{}},\"freeResource\":{\"cpuC"
     "ores\":\"f\",\"taskHeapMemory\":\"i\",\"taskOffHeapMemory\":\"i\",\"managedMemory\":\"i\",\"networkMemory\":\""
     "i\",\"extendedResources\":{}},\"hardware\":{\"cpuCores\":\"i\",\"physicalMemory\":\"i\",\"freeMemory\":\"i\",\""
     "managedMemory\":\"i\"},\"memoryConfiguration\":{\"frameworkHeap\":\"i\",\"taskHeap\":\"i\",\"frameworkOffHeap\""
     ":\"i\",\"taskOffHeap\":\"i\",\"networkMemory\":\"i\",\"managedMemory\":\"i\",\"jvmMetaspace\":\"i\",\"jvmOverh"
     "ead\":\"i\",\"totalFlinkMemory\":\"i\",\"totalProcessMemory\":\"i\"},\"allocatedSlots\":[{\"jobId\":\"s\",\"re"
     "source\":{\"cpuCores\":\"f\",\"taskHeapMemory\":\"i\",\"taskOffHeapMemory\":\"i\",\"managedMemory\":\"i\",\"ne"
     "tworkMemory\":\"i\",\"extendedResources\":{}}}],\"metrics\":{\"heapUsed\":\"i\",\"heapCommitted\":\"i\",\"heap"
     "Max\":\"i\",\"nonHeapUsed\":\"i\",\"nonHeapCommitted\":\"i\",\"nonHeapMax\":\"i\",\"directCount\":\"i\",\"dire"
     "ctUsed\":\"i\",\"directMax\":\"i\",\"mappedCount\":\"i\",\"mappedUsed\":\"i\",\"mappedMax\":\"i\",\"memorySegm"
     "entsAvailable\":\"i\",\"memorySegmentsTotal\":\"i\",\"nettyShuffleMemorySegmentsAvailable\":\"i\",\"nettyShuff"
     "leMemorySegmentsUsed\":\"i\",\"nettyShuffleMemorySegmentsTotal\":\"i\",\"nettyShuffleMemoryAvailable\":\"i\",\""
     "nettyShuffleMemoryUsed\":\"i\",\"nettyShuffleMemoryTotal\":\"i\",\"garbageCollectors\":[{\"name\":\"s\",\"coun"
     "t\":\"i\",\"time\":\"i\"}]}}"},
    {"jobmanager_config", "[{\"key\":\"s\",\"value\":\"s\"}]"},
    {"jobmanager_logs", "{\"logs\":[{\"name\":\"s\",\"size\":\"i\",\"mtime\":\"i\"}]}"},
    {"jars",
     "{\"address\":\"s\",\"files\":[{\"id\":\"s\",\"name\":\"s\",\"uploaded\":\"i\",\"entry\":[{\"name\":\"s\",\"des"
     "cription\":\"n\"}]}]}"},
    {"jar_upload", "{\"filename\":\"s\",\"status\":\"s\"}"},
    {"jar_plan",
     "{\"plan\":{\"jid\":\"s\",\"name\":\"s\",\"type\":\"s\",\"nodes\":[{\"id\":\"s\",\"parallelism\":\"i\",\"operat"
     "or\":\"s\",\"operator_strategy\":\"s\",\"description\":\"s\",\"optimizer_properties\":{}}]}}"},
    {"jar_run", "{\"jobid\":\"s\"}"},
    {"not_found", "{\"errors\":[\"s\"]}"},
};

#endif
