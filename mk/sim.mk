# The simulator: both cores compiled again with their mutants, the plan, base and the messages; nothing else.

SIM_CORE := $(wildcard jobmanager/core/*.c taskmanager/core/*.c) taskmanager/connectors/kafka/publish.c
SIM_SRC  := $(wildcard tests/sim/*.c)
SIM_OBJ  := $(patsubst %,$(BUILD)/obj/sim/%.o,$(SIM_CORE) $(SIM_SRC))
SIM_AR   := $(call archive,common/graph) $(call archive,common/base) $(BUILD)/lib/proto.a
SIM      := $(BUILD)/bin/weir-sim
SEEDS    ?= 10000

$(BUILD)/obj/sim/%.c.o: %.c | $(PROTO_H)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -DWEIR_SIM_MUTANTS -MMD -MP -c $< -o $@
$(SIM): $(SIM_OBJ) $(SIM_AR)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $(SIM_OBJ) -Wl,--start-group $(SIM_AR) -Wl,--end-group \
	    $(shell pkg-config --libs libprotobuf-c jansson libxxhash libcrypto) -lm

# SEED=n replays one seed with its trace; else SEEDS seeds and all mutants.
sim: $(SIM)
	$(if $(SEED),$(SIM) --seed $(SEED) --trace --stats --shrink,tests/sim/run.sh $(SIM) $(SEEDS))
# Shards of SEEDS seeds (100,000) side by side, at low priority; every seed that fails is printed.
sim-long: $(SIM)
	tests/sim/long.sh $(SIM) $(if $(filter command environment,$(firstword $(origin SEEDS))),$(SEEDS),100000)
# Seeds that catch the mutants: those of the file that do no more are searched for anew (minutes).
sim-known: $(SIM)
	$(SIM) --mutants --seeds 10000 --known tests/sim/known 2>/dev/null | awk '/^CAUGHT/ {print $$2, $$5 + 0}' >$(BUILD)/sim-known
	mv $(BUILD)/sim-known tests/sim/known
.PHONY: sim sim-long sim-known
