# Unit tests: tests/unit/<name>_test.c (and tests/ops/) are cmocka programs. By default each is linked with all archives; a module
# under construction names only what it needs: UNIT_LIBS_<name> := common/data common/base

UNIT_SRC  := $(wildcard tests/unit/*_test.c tests/ops/*_test.c)
UNIT_BIN  := $(UNIT_SRC:tests/%.c=$(BUILD)/tests/%)
UNIT_ALL  := $(TM_AR) $(JM_AR) $(COMMON_AR)

UNIT_LIBS_expr_test := common/expr common/data common/base
UNIT_LIBS_expr_types_test := common/expr common/format common/registry common/http common/data common/base
UNIT_LIBS_agg_test := common/expr common/data common/base
UNIT_LIBS_flink_scalar_test := common/expr common/data common/base
UNIT_LIBS_rocks_test := taskmanager/state common/base
UNIT_LIBS_state_test := taskmanager/state common/statefile common/data common/base
UNIT_LIBS_run_test := common/statefile common/data common/base
UNIT_LIBS_capture_test := $(UNIT_LIBS_state_test)
UNIT_LIBS_decimal_test := common/data common/base
UNIT_LIBS_schema_test := common/data common/base
UNIT_LIBS_batch_test := common/data common/base
UNIT_LIBS_batch_wire_test := common/data common/base
UNIT_LIBS_row_key_test := common/data common/base
UNIT_LIBS_time_text_test := common/data common/base
UNIT_LIBS_json_test := common/format common/registry common/http common/data common/base
UNIT_LIBS_simd_test := common/expr common/data common/base
UNIT_LIBS_csv_test := common/format common/registry common/http common/data common/base
UNIT_LIBS_avro_test := $(UNIT_LIBS_csv_test)
UNIT_LIBS_protobuf_test := $(UNIT_LIBS_csv_test)
UNIT_LIBS_protobuf_confluent_test := $(UNIT_LIBS_csv_test)
UNIT_LIBS_json_schema_test := $(UNIT_LIBS_csv_test)
UNIT_LIBS_json_confluent_test := $(UNIT_LIBS_csv_test)

UNIT_LIBS_plan_test := common/graph common/base proto
UNIT_LIBS_jm_test := jobmanager/core common/graph common/base proto
UNIT_LIBS_jm_checkpoint_test := $(UNIT_LIBS_jm_test)
UNIT_LIBS_jm_savepoint_test := $(UNIT_LIBS_jm_test)
UNIT_LIBS_head_test := jobmanager/core common/graph common/base proto
UNIT_LIBS_tm_test := taskmanager/core common/base proto

UNIT_LIBS_base_test := common/base
UNIT_LIBS_limits_test := common/base
UNIT_LIBS_pool_test := common/base
UNIT_LIBS_own_host_test := taskmanager/io common/base
UNIT_LIBS_http_test := common/http common/base
UNIT_LIBS_registry_test := common/registry common/http common/base
UNIT_LIBS_rest_test := jobmanager/rest common/http common/base
UNIT_LIBS_sigv4_test := common/store common/base
UNIT_LIBS_store_test := common/store common/http common/base
UNIT_LIBS_s3_test := $(UNIT_LIBS_store_test)

UNIT_LIBS_frame_test := common/net common/base proto
UNIT_LIBS_curve_test := common/net common/http common/base proto
UNIT_LIBS_chain_test := taskmanager/task taskmanager/ops taskmanager/exchange taskmanager/executor taskmanager/state common/statefile common/data common/base
UNIT_LIBS_barrier_test := $(UNIT_LIBS_chain_test)
UNIT_LIBS_exchange_test := taskmanager/task taskmanager/ops taskmanager/state common/statefile taskmanager/exchange taskmanager/executor common/net common/data common/base proto
UNIT_LIBS_exec_core_test := taskmanager/executor common/base
UNIT_LIBS_local_copies_test := taskmanager/executor taskmanager/io common/base
UNIT_LIBS_executor_test := taskmanager/executor taskmanager/ops taskmanager/state common/statefile taskmanager/io taskmanager/task taskmanager/exchange common/net common/graph common/store common/http common/data common/base proto
UNIT_LIBS_OPS := taskmanager/ops taskmanager/connectors taskmanager/state common/store common/registry common/http common/statefile common/expr common/format common/data common/base
UNIT_LIBS_alignment_test := $(UNIT_LIBS_OPS)
UNIT_LIBS_source_align_test := $(UNIT_LIBS_OPS)
UNIT_LIBS_output_log_test := $(UNIT_LIBS_OPS)
UNIT_LIBS_ops_test := $(UNIT_LIBS_OPS)
UNIT_LIBS_window_test := $(UNIT_LIBS_OPS)
UNIT_LIBS_source_test := $(UNIT_LIBS_OPS)
UNIT_LIBS_sink_test := $(UNIT_LIBS_OPS)
UNIT_LIBS_connectors_test := $(UNIT_LIBS_OPS)
UNIT_LIBS_objects_test := $(UNIT_LIBS_OPS)
UNIT_LIBS_row_map_test := $(UNIT_LIBS_OPS)
UNIT_LIBS_process_test := $(UNIT_LIBS_OPS)
UNIT_LIBS_process_timer_test := $(UNIT_LIBS_OPS)
UNIT_LIBS_process_restore_test := $(UNIT_LIBS_OPS)
UNIT_LIBS_rescale_test := $(UNIT_LIBS_OPS)
UNIT_LIBS_row_fuse_test := $(UNIT_LIBS_OPS)
UNIT_LIBS_sdk_test := common/sdk common/graph $(UNIT_LIBS_OPS) proto
UNIT_LIBS_check_test := common/sdk common/graph $(UNIT_LIBS_OPS) proto
UNIT_LIBS_process_sdk_test := $(UNIT_LIBS_sdk_test)
UNIT_LIBS_build_job_test := common/sdk common/graph $(UNIT_LIBS_OPS) proto

unit_libs = $(if $(UNIT_LIBS_$(1)),$(foreach d,$(UNIT_LIBS_$(1)),$(call archive,$(d))),$(UNIT_ALL))

define unit_test
$(BUILD)/tests/$(1): tests/$(1).c $(wildcard tests/unit/*.h tests/ops/*.h) $(call unit_libs,$(notdir $(1)))
	@mkdir -p $$(@D)
	@echo '  TEST $$@'
	@$$(CC) $$(CPPFLAGS) -Itests $$(CFLAGS) $$< $$(filter %.o,$$^) -o $$@ $$(LDFLAGS) -Wl,--start-group $(call unit_libs,$(notdir $(1))) -Wl,--end-group $$(LIBS) $$(TM_LIBS) -lcmocka
endef
$(foreach t,$(UNIT_SRC:tests/%.c=%),$(eval $(call unit_test,$(t))))
# The operator harness takes the driver's place (taskmanager/task must not be linked beside it).
OPS_TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/ops/*_test.c))
$(OPS_TESTS) $(BUILD)/tests/unit/connectors_test $(BUILD)/tests/unit/objects_test: $(BUILD)/obj/tests/ops/harness.c.o
$(BUILD)/tests/unit/sdk_test $(BUILD)/tests/unit/check_test $(BUILD)/tests/unit/process_sdk_test $(BUILD)/tests/unit/build_job_test: $(BUILD)/obj/tests/ops/harness.c.o
# Job objects that the test compiles find the SDK in the test itself.
$(BUILD)/tests/ops/sink_test $(BUILD)/tests/ops/source_test $(BUILD)/tests/ops/source_align_test: LDFLAGS += -rdynamic
$(BUILD)/tests/unit/build_job_test: LDFLAGS += -rdynamic -Wl,-u,weir_window_at
$(BUILD)/tests/unit/build_job_test: $(patsubst %,$(BUILD)/obj/taskmanager/executor/%.c.o,build_job job_object option_files)

# JSON as a processor without SSE2 reads it: what the preprocessor chooses, chosen otherwise.
PORTABLE_OBJ := $(patsubst %,$(BUILD)/obj/portable/%.o,$(wildcard common/format/*.c))
$(BUILD)/obj/portable/%.c.o: %.c
	@mkdir -p $(@D)
	@$(CC) $(CPPFLAGS) $(CFLAGS) -U__SSE2__ -MMD -MP -c $< -o $@
JSON_PORTABLE := $(BUILD)/tests/unit/json_portable_test
$(JSON_PORTABLE): tests/unit/json_test.c $(PORTABLE_OBJ) $(BUILD)/obj/common/format/simdjson_shim.cc.o \
    $(foreach d,common/registry common/http common/data common/base,$(call archive,$(d)))
	@mkdir -p $(@D)
	@echo '  TEST $@'
	@$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $< $(filter %.o,$^) -o $@ $(LDFLAGS) $(filter %.a,$^) $(LIBS) -lcmocka
UNIT_BIN += $(JSON_PORTABLE)

unit-tests: $(UNIT_BIN)
.PHONY: unit-tests

# --- Jobs of the end-to-end tests and benches: shared objects against the SDK, as a user's.
TEST_JOBS  := $(patsubst tests/jobs/%.c,$(BUILD)/tests/jobs/%.so,$(wildcard tests/jobs/*.c))
BENCH_JOBS := $(patsubst tests/bench/jobs/%.c,$(BUILD)/bench/jobs/%.so,$(wildcard tests/bench/jobs/*.c))
JOB_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -shared -fPIC -I$(BUILD)/include -L$(BUILD)/lib
$(BUILD)/tests/jobs/%.so: tests/jobs/%.c $(HEADERS) | $(LIBWEIR)
	@mkdir -p $(@D)
	@echo '  JOB  $@'
	@$(CC) $(JOB_CFLAGS) $< -o $@ -lweir
$(BUILD)/bench/jobs/%.so: tests/bench/jobs/%.c $(HEADERS) | $(LIBWEIR)
	@mkdir -p $(@D)
	@echo '  JOB  $@'
	@$(CC) $(JOB_CFLAGS) $< -o $@ -lweir
test-jobs: $(TEST_JOBS)

E2E := $(filter-out tests/e2e/weir_test.py,$(wildcard tests/e2e/*_test.py)) # weir_test.py is the kit
# They begin first, so that nothing waits for them alone in the end; those that compute beside those that wait.
LONG_TESTS := tests/sim/sim_test.sh tests/torture/kafka_torture.py tests/e2e/savepoint_test.py tests/torture/kill_torture.py \
              $(patsubst %,tests/e2e/%_test.py,container failures unaligned hostile temperature kafka_sink network checkpoint demo) tests/torture/daemons_torture.py
check-unit: unit-tests
	tests/run.py $(UNIT_BIN)
check-e2e: all test-jobs
	WEIR_BUILD=$(BUILD) tests/run.py --timeout 900 $(E2E)
check: deps s3-server kafka-brokers
	@$(MAKE) --no-print-directory all unit-tests fuzz-targets test-jobs $(BUILD)/bin/weir-sim torture-programs $(PLAIN_BINARIES)
	WEIR_BUILD=$(BUILD) tests/run.py --timeout 900 $(LONG_TESTS) $(UNIT_BIN) tests/tidy_test.py $(FUZZ_BIN) $(TORTURE) tests/s3/store_test.py tests/s3/cluster_test.py $(filter-out $(LONG_TESTS),$(E2E))

# 640 MB of state in a budget of 64 MB, and 3 M keys of a function, at full size: some minutes.
check-large: all test-jobs
	WEIR_BUILD=$(BUILD) WEIR_LARGE_STATE=1 tests/run.py --timeout 3600 tests/e2e/large_state_test.py
.PHONY: check-large

# Several hosts (network namespaces; root): the longer scenarios, too.
check-network: all test-jobs
	WEIR_BUILD=$(BUILD) WEIR_NETWORK=all tests/run.py --timeout 900 tests/e2e/network_test.py
.PHONY: check-network

# Kafka with the distribution's librdkafka (check has the current one, where `make deps` fetched it): the same programs without lib/weir.
SYSTEM_TREE := $(BUILD)/with-system-librdkafka
check-kafka-system: all test-jobs kafka-brokers
	@rm -rf $(SYSTEM_TREE) && mkdir -p $(SYSTEM_TREE)/lib $(SYSTEM_TREE)/tests
	@cp -a $(BUILD)/bin $(BUILD)/examples $(SYSTEM_TREE) && cp -a $(BUILD)/lib/libweir.so* $(SYSTEM_TREE)/lib && cp -a $(BUILD)/tests/jobs $(SYSTEM_TREE)/tests
	WEIR_BUILD=$(SYSTEM_TREE) tests/run.py --timeout 900 $(filter-out %/kafka_login_test.py,$(wildcard tests/e2e/kafka*_test.py))
.PHONY: check-kafka-system

# The page's buttons in a browser.
check-page: all test-jobs
	scripts/deps.sh page
	WEIR_BUILD=$(BUILD) tests/run.py --timeout 900 tests/page/page_test.py
.PHONY: check-page

# Sanitizers: unit, operator and end-to-end tests, in build folders of their own. TSan needs fixed mappings (setarch -R).
check-asan:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)-asan SAN=address,undefined all unit-tests fuzz-targets test-jobs
	WEIR_BUILD=$(BUILD)-asan WEIR_TEST_PATIENCE=4 WEIR_TEST_READINGS=200000 ASAN_OPTIONS=detect_leaks=1 \
	    tests/run.py --timeout 1800 $(UNIT_BIN:$(BUILD)/%=$(BUILD)-asan/%) $(FUZZ_BIN:$(BUILD)/%=$(BUILD)-asan/%) $(E2E)
check-tsan:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)-tsan SAN=thread all unit-tests test-jobs
	WEIR_BUILD=$(BUILD)-tsan WEIR_TEST_PATIENCE=6 WEIR_TEST_READINGS=200000 \
	    TSAN_OPTIONS="suppressions=$(CURDIR)/tests/tsan.supp" setarch -R \
	    tests/run.py --timeout 1800 $(UNIT_BIN:$(BUILD)/%=$(BUILD)-tsan/%) $(E2E)
.PHONY: test-jobs check check-unit check-e2e check-asan check-tsan

# --- Benches of one part: state tables, the window operator beside loops by hand.
BENCH_LIBS_state_bench := taskmanager/state common/statefile common/data common/base
BENCH_LIBS_window_bench := $(UNIT_LIBS_OPS)
PART_BENCHES := $(BUILD)/bench/state_bench $(BUILD)/bench/window_bench
$(PART_BENCHES): $(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.c.o $(foreach d,$(UNIT_LIBS_OPS),$(call archive,$(d)))
	@mkdir -p $(@D)
	@$(CC) $< -o $@ $(LDFLAGS) -Wl,--start-group $(foreach d,$(BENCH_LIBS_$*),$(call archive,$(d))) -Wl,--end-group $(LIBS) $(TM_LIBS)
part-benches: $(PART_BENCHES)
.PHONY: part-benches

# --- Benches of the data plane's small steps: batches and keys; JSON beside simdjson alone.
DATA_BENCHES := $(BUILD)/bench/batch_bench $(BUILD)/bench/json_bench
DATA_BENCH_AR := $(foreach d,common/format common/registry common/http common/data common/base,$(call archive,$(d)))
$(BUILD)/bench/json_bench: $(BUILD)/obj/tests/bench/simdjson_walk.cc.o
$(DATA_BENCHES): $(BUILD)/bench/%: tests/bench/%.c $(DATA_BENCH_AR)
	@mkdir -p $(@D)
	@echo '  BENCH $@'
	@$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $< $(filter %.o,$^) -o $@ $(LDFLAGS) -Wl,--start-group $(DATA_BENCH_AR) -Wl,--end-group $(LIBS)
data-benches: $(DATA_BENCHES)
.PHONY: data-benches

# Rows per second of expressions and aggregates: build it, then run it by hand.
$(BUILD)/tests/bench/expr_bench: tests/bench/expr_bench.c $(foreach d,common/expr common/data common/base,$(call archive,$(d)))
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $< -o $@ $(LDFLAGS) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS)

# Other systems, in clean roots kept below $XDG_CACHE_HOME/weir (else ~/.cache/weir); as root. SYSTEMS=arm64 runs one of them.
check-portable:
	scripts/deps.sh roots
	tests/roots/portable.py $(SYSTEMS)
# The packages, installed, started and purged in such roots.
check-package:
	scripts/deps.sh roots
	tests/roots/package.py $(SYSTEMS)
.PHONY: check-portable check-package

# --- The container image built whole, first stage included, and the cluster of deploy/ in containers (check has the same with this tree's binaries).
check-containers: deps
	@$(MAKE) --no-print-directory all test-jobs
	WEIR_TEST_WHOLE_IMAGE=1 WEIR_BUILD=$(BUILD) tests/run.py --timeout 2400 tests/e2e/deploy_test.py tests/e2e/container_test.py
.PHONY: check-containers

# --- The same, and deploy/kubernetes on a real one-node cluster, whose programs are built the first time (scripts/kubernetes). Root, Go.
check-kubernetes: check-containers
	WEIR_BUILD=$(BUILD) tests/run.py --timeout 7200 tests/kubernetes/kubernetes_test.py
.PHONY: check-kubernetes
# The Kafka brokers of the tests, fetched on the first run (45 MB) into the same place.
kafka-brokers: deps
	scripts/kafka/kafka.sh fetch
.PHONY: kafka-brokers
# The S3 server of the tests, built on the first run (about 5 minutes) into $XDG_CACHE_HOME/weir (else ~/.cache/weir).
s3-server: deps
	scripts/s3/versitygw.sh build
.PHONY: s3-server
# The object store against it.
check-s3: $(BUILD)/tests/unit/store_test
	WEIR_BUILD=$(BUILD) tests/run.py --timeout 3600 tests/s3/store_test.py
.PHONY: check-s3
# Both and kills against another server, MinIO, built on the first run (up to 40 minutes).
check-minio: all test-jobs $(BUILD)/tests/unit/store_test
	scripts/s3/minio.sh build
	WEIR_BUILD=$(BUILD) WEIR_TEST_S3_SERVER=minio tests/run.py --timeout 3600 tests/s3/store_test.py
	WEIR_BUILD=$(BUILD) WEIR_TEST_S3_SERVER=minio tests/torture/kill_torture.py --faults 40 --store s3 --seed $(or $(SEED),1)
.PHONY: check-minio
