# Fuzz targets: tests/fuzz/NAME_fuzz.c. `make check` runs each over its corpus and some mutations, with tests/fuzz/driver.c; `make fuzz`
# builds everything once more with clang and libFuzzer, in a folder of its own, and runs each target SECONDS long (TARGETS="json csv": only these).

FUZZ_SRC := $(wildcard tests/fuzz/*_fuzz.c)
FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/%.c=$(BUILD)/tests/fuzz/%)
SECONDS  ?= 60
FUZZ_BUILD := $(BUILD)-fuzz
# LIBFUZZER=1: with libFuzzer's main instead of the driver.
$(BUILD)/tests/fuzz/%_fuzz: $(BUILD)/obj/tests/fuzz/%_fuzz.c.o $(if $(LIBFUZZER),,$(BUILD)/obj/tests/fuzz/driver.c.o) $(UNIT_ALL)
	@mkdir -p $(@D)
	@echo '  FUZZ $@'
	@$(if $(LIBFUZZER),$(CXX) -fsanitize=fuzzer,$(CC)) $(filter %.o,$^) -o $@ $(LDFLAGS) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS) $(TM_LIBS) $(FUZZ_LIBS)
$(BUILD)/obj/tests/fuzz/%.o: CPPFLAGS += -Itests
$(BUILD)/tests/fuzz/snapshot_fuzz: $(BUILD)/obj/client/state_rows.c.o
# The operator harness takes the driver's place.
$(BUILD)/tests/fuzz/restore_fuzz: $(BUILD)/obj/tests/ops/harness.c.o
$(BUILD)/tests/fuzz/restore_fuzz: FUZZ_LIBS := -lcmocka
# A registry and a clock of the target's own.
$(BUILD)/tests/fuzz/confluent_fuzz: LDFLAGS += -Wl,--wrap=weir_http_call -Wl,--wrap=weir_clock_mono_ms
# The command's reader of dead letters, with what it says.
$(BUILD)/tests/fuzz/dlq_fuzz: $(CLIENT_AR)
$(BUILD)/tests/fuzz/dlq_fuzz: LDFLAGS += $(foreach f,read_all replay_open replay_has replay_begin replay_send replay_commit replay_close,-Wl,--wrap=weir_kafka_$(f))
.SECONDARY: $(FUZZ_SRC:%=$(BUILD)/obj/%.o) $(BUILD)/obj/tests/fuzz/driver.c.o

fuzz-targets: $(FUZZ_BIN)
fuzz:
	scripts/deps.sh fuzz
	@$(MAKE) --no-print-directory BUILD=$(FUZZ_BUILD) CC=clang CXX=clang++ SAN=fuzzer-no-link,address,undefined LIBFUZZER=1 fuzz-targets
	tests/fuzz/run.sh $(FUZZ_BUILD) $(SECONDS) $(TARGETS)
# The corpora's binary parts, as today's encoders write them; the other files of a corpus stay.
fuzz-seeds: $(FUZZ_BIN)
	@for f in $(FUZZ_SRC:tests/fuzz/%_fuzz.c=%); do mkdir -p tests/fuzz/corpus/$$f; \
	    $(BUILD)/tests/fuzz/$${f}_fuzz --write-seeds tests/fuzz/corpus/$$f || exit 1; done
.PHONY: fuzz fuzz-targets fuzz-seeds
