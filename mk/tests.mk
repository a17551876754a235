# Unit tests: tests/unit/<name>_test.c (and tests/ops/) are cmocka programs. By default each is linked with all archives; a module
# under construction names only what it needs: UNIT_LIBS_<name> := common/data common/base

UNIT_SRC  := $(wildcard tests/unit/*_test.c tests/ops/*_test.c)
UNIT_BIN  := $(UNIT_SRC:tests/%.c=$(BUILD)/tests/%)
UNIT_ALL  := $(TM_AR) $(JM_AR) $(COMMON_AR)

UNIT_LIBS_expr_test := common/expr common/data common/base
UNIT_LIBS_agg_test := common/expr common/data common/base
UNIT_LIBS_state_test := taskmanager/state common/data common/base
UNIT_LIBS_schema_test := common/data common/base
UNIT_LIBS_batch_test := common/data common/base
UNIT_LIBS_batch_wire_test := common/data common/base
UNIT_LIBS_row_key_test := common/data common/base
UNIT_LIBS_time_text_test := common/data common/base
UNIT_LIBS_json_test := common/format common/data common/base
UNIT_LIBS_csv_test := common/format common/data common/base

unit_libs = $(if $(UNIT_LIBS_$(1)),$(foreach d,$(UNIT_LIBS_$(1)),$(call archive,$(d))),$(UNIT_ALL))

define unit_test
$(BUILD)/tests/$(1): tests/$(1).c $(wildcard tests/unit/*.h tests/ops/*.h) $(call unit_libs,$(notdir $(1)))
	@mkdir -p $$(@D)
	$$(CC) $$(CPPFLAGS) -Itests $$(CFLAGS) $$< -o $$@ $$(LDFLAGS) -Wl,--start-group $(call unit_libs,$(notdir $(1))) -Wl,--end-group $$(LIBS) -lcmocka
endef
$(foreach t,$(UNIT_SRC:tests/%.c=%),$(eval $(call unit_test,$(t))))

unit-tests: $(UNIT_BIN)
.PHONY: unit-tests
