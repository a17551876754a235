# examples/<name>/job.c -> build/examples/<name>.so, against the SDK only, as a user builds it (with the connectors.c beside it, if any).

EXAMPLES := $(patsubst examples/%/job.c,$(BUILD)/examples/%.so,$(wildcard examples/*/job.c)) \
            $(BUILD)/examples/gpu-temperature-publisher $(BUILD)/examples/event-platform-publisher
$(BUILD)/examples/%.so: examples/%/job.c $(HEADERS) | $(LIBWEIR)
	@mkdir -p $(@D)
	@echo '  JOB  $@'
	@$(CC) $(JOB_CFLAGS) $< $(wildcard $(<D)/connectors.c) -o $@ -lweir
$(BUILD)/examples/connector-tutorial.so: examples/connector-tutorial/connectors.c
$(BUILD)/examples/gpu-temperature-publisher: examples/gpu-temperature/publisher.c examples/gpu-temperature/feed.c examples/gpu-temperature/feed.h
	@mkdir -p $(@D)
	@echo '  LINK $@'
	@$(CC) -std=gnu11 -O2 -g -Wall -Wextra -Wshadow $(filter %.c,$^) -o $@ -lm
$(BUILD)/examples/event-platform-publisher: examples/event-platform/publisher.c
	@mkdir -p $(@D)
	@echo '  LINK $@'
	@$(CC) -std=gnu11 -O2 -g -Wall -Wextra -Wshadow $< -o $@ -lrdkafka
all: $(EXAMPLES)
