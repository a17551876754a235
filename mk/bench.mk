# Benches: tests/bench/*_bench.c and walk_file.c, and the runner that judges the figures.

BENCH_DEPS := $(foreach d,taskmanager/ops taskmanager/connectors taskmanager/state taskmanager/task taskmanager/exchange $(COMMON_DIRS),$(call archive,$(d))) \
              $(BUILD)/lib/proto.a
BENCH_BIN  := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/*.c))
$(BUILD)/bench/%: tests/bench/%.c $(BUILD)/obj/tests/bench/simdjson_walk.cc.o $(BENCH_DEPS)
	@mkdir -p $(@D)
	@echo '  BENCH $@'
	@$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $< $(BUILD)/obj/tests/bench/simdjson_walk.cc.o -o $@ $(LDFLAGS) \
	    -Wl,--start-group $(BENCH_DEPS) -Wl,--end-group $(LIBS) $(TM_LIBS)

bench: all $(BENCH_BIN) $(BENCH_JOBS)
	WEIR_BUILD=$(BUILD) tests/bench/run.py
.PHONY: bench

# Beside Apache Flink: fetched from PyPI once, into a cache folder outside the checkout; WEIR_RIVAL_SCALE=0.1 for a tenth of the rows.
bench-rival:
	scripts/deps.sh rival
	@$(MAKE) --no-print-directory all $(BENCH_JOBS) $(BUILD)/bench/kafka_bench
	@mkdir -p $(BUILD)/rival/classes
	flink=$$(scripts/rival/flink.sh) && \
	    javac -nowarn -Xlint:none -cp "$$flink/lib/*" -d $(BUILD)/rival/classes tests/bench/rival/Rival.java 2>$(BUILD)/rival/javac.log \
	        || { cat $(BUILD)/rival/javac.log; exit 1; }; \
	    jar cf $(BUILD)/rival/rival.jar -C $(BUILD)/rival/classes . && \
	    WEIR_BUILD=$(BUILD) tests/bench/rival/run.py "$$flink" $(BUILD)/rival/rival.jar $(RIVAL)
.PHONY: bench-rival
