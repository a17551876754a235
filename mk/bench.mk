# Benches: tests/bench/*_bench.c and walk_file.c, and the runner that judges the figures.

BENCH_DEPS := $(foreach d,taskmanager/ops taskmanager/connectors taskmanager/state taskmanager/task taskmanager/exchange $(COMMON_DIRS),$(call archive,$(d))) \
              $(BUILD)/lib/proto.a
BENCH_BIN  := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/*.c))
$(BUILD)/bench/%: tests/bench/%.c $(BUILD)/obj/tests/bench/simdjson_walk.cc.o $(BENCH_DEPS)
	@mkdir -p $(@D)
	@echo '  BENCH $@'
	@$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $< $(BUILD)/obj/tests/bench/simdjson_walk.cc.o -o $@ $(LDFLAGS) \
	    -Wl,--start-group $(BENCH_DEPS) -Wl,--end-group $(LIBS)

bench: all $(BENCH_BIN) $(BENCH_JOBS)
	WEIR_BUILD=$(BUILD) tests/bench/run.py
.PHONY: bench
