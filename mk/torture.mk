# Torture: the n-th allocation, open, write, send, ... fails. See tests/torture/README.md.
# make torture FAULTS=n [SEED=s]: n faults, a third over common/ in one process, the rest over daemons, executors and commands; and n processes
# killed, stopped, failed and slowed at fault points under a job whose every record is counted (make torture-kill, make torture-kafka: these alone).

TORTURE_LIBS := taskmanager/ops taskmanager/connectors taskmanager/state $(COMMON_DIRS)
TORTURE_AR   := $(foreach d,$(TORTURE_LIBS),$(call archive,$(d))) $(BUILD)/lib/proto.a
TORTURE      := $(BUILD)/tests/torture/common_torture
FAULTS       ?= 400

$(TORTURE): $(patsubst %,$(BUILD)/obj/tests/%.c.o,torture/common_torture torture/common_scenarios torture/faults ops/harness) $(TORTURE_AR)
	@mkdir -p $(@D)
	@echo '  TEST $@'
	@$(CC) $(filter %.o,$^) -o $@ $(LDFLAGS) -rdynamic -Wl,--start-group $(TORTURE_AR) -Wl,--end-group $(LIBS) $(TM_LIBS) -lcmocka
TORTURE_CPPFLAGS := -Itests -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=0
$(BUILD)/obj/tests/torture/%.c.o: CFLAGS += $(TORTURE_CPPFLAGS)
$(BUILD)/lib/torture.so: tests/torture/faults.c tests/torture/faults.h
	@mkdir -p $(@D)
	@echo '  LINK $@'
	@$(CC) $(CPPFLAGS) $(TORTURE_CPPFLAGS) -std=c11 -O1 -g -fPIC $(WARN_C) -shared $< -o $@ -ldl

torture-programs: $(TORTURE) $(BUILD)/lib/torture.so
torture: all torture-programs test-jobs
	WEIR_BUILD=$(BUILD) tests/torture/daemons_torture.py --common $$(($(FAULTS) / 3)) --faults $$(($(FAULTS) - $(FAULTS) / 3)) --seed $(or $(SEED),1)
	$(MAKE) --no-print-directory torture-kill
	$(MAKE) --no-print-directory torture-kafka
# A run a seed, of FAULTS faults each; RESUME=1 begins behind the last seed of build/torture/results.jsonl. It needs no build to hold still: the
# programs are copied first.
torture-kill: all test-jobs s3-server
	WEIR_BUILD=$(BUILD) tests/torture/kill_torture.py --faults $(FAULTS) --seed $(or $(SEED),1) --runs $(or $(RUNS),1) $(if $(RESUME),--resume)
	WEIR_BUILD=$(BUILD) tests/torture/kill_torture.py --outside $(or $(OUTSIDE),60) --seed $(or $(SEED),1)
# The same with a topic on both sides and brokers that die too.
torture-kafka: all test-jobs s3-server kafka-brokers
	WEIR_BUILD=$(BUILD) tests/torture/kafka_torture.py --faults $(FAULTS) --seed $(or $(SEED),1) --runs $(or $(RUNS),1)
.PHONY: torture torture-kill torture-kafka torture-programs
