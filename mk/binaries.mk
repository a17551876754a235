# libweir (the SDK and common/; shared only: a job is loaded into a process that has it), the three binaries, headers and pkg-config file.
# Binaries find libweir.so beside themselves (../lib), so that build/ and an installed tree both work; ../lib/weir holds the libraries that
# the relocatable package brings along (RPATH, not RUNPATH: those libraries' own needs are looked for there, too).

SOVERSION := 0
LIBWEIR   := $(BUILD)/lib/libweir.so
BINARIES  := $(BUILD)/bin/weir $(BUILD)/bin/weir-jobmanager $(BUILD)/bin/weir-taskmanager
RPATH     := -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/../lib:$$ORIGIN/../lib/weir'

$(BUILD)/libweir.map: mk/libweir.map.in VERSION
	@mkdir -p $(@D)
	@sed 's/@VERSION@/$(VERSION)/' $< > $@

$(BUILD)/lib/libweir.so.$(VERSION): $(COMMON_AR) $(BUILD)/libweir.map
	@echo '  LINK $@'
	@$(CC) -shared $(LDFLAGS) -Wl,-soname,libweir.so.$(SOVERSION) -Wl,-Bsymbolic-functions \
	    -Wl,--version-script=$(BUILD)/libweir.map -o $@ \
	    -Wl,--whole-archive $(COMMON_AR) -Wl,--no-whole-archive $(LIBS)
$(LIBWEIR): $(BUILD)/lib/libweir.so.$(VERSION)
	@ln -sf $(<F) $(BUILD)/lib/libweir.so.$(SOVERSION)
	@ln -sf $(<F) $@
# What they show by name (for the crash report) is theirs by its prefix, so that no function of a job meets a namesake.
link_binary = @mkdir -p $(@D); echo "  LINK $@"; $(CC) $(LDFLAGS) -pie $(RPATH) -o $@ $(filter %.o,$^) \
    -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -L$(BUILD)/lib -lweir $(LIBS) $(LINK_EXTRA) -Wl,--export-dynamic-symbol='weir_*'

$(BUILD)/bin/weir-jobmanager: $(BUILD)/obj/jobmanager/main.c.o $(JM_AR) | $(LIBWEIR)
	$(link_binary)
$(BUILD)/bin/weir-taskmanager: $(BUILD)/obj/taskmanager/main.c.o $(TM_AR) | $(LIBWEIR)
	$(link_binary)
$(BUILD)/bin/weir: $(BUILD)/obj/client/main.c.o $(CLIENT_AR) $(JM_AR) $(TM_AR) | $(LIBWEIR)
	$(link_binary)
$(BINARIES): $(LIBWEIR)
$(BUILD)/bin/weir-taskmanager $(BUILD)/bin/weir: LINK_EXTRA := $(TM_LIBS)

# The kit of <weir/testing.h>: the operator of functions, and a driver in the task's place. It shows no more than that.
TESTING := $(BUILD)/lib/libweir-testing.so
$(TESTING): $(BUILD)/obj/taskmanager/testing/testing.c.o $(call archive,taskmanager/ops) $(call archive,taskmanager/state) mk/libweir-testing.map | $(LIBWEIR)
	@echo '  LINK $@'
	@$(CC) -shared $(LDFLAGS) -Wl,-soname,$(@F) -Wl,--disable-new-dtags,-rpath,'$$ORIGIN:$$ORIGIN/weir' -Wl,-Bsymbolic -Wl,-z,defs -Wl,--version-script=mk/libweir-testing.map -o $@ \
	    $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -L$(BUILD)/lib -lweir $(LIBS) $(filter-out -lrdkafka,$(TM_LIBS))
all: $(TESTING)

# The status page is read into the JobManager by .incbin.
$(BUILD)/obj/jobmanager/rest/web.c.o: jobmanager/rest/web/index.html

# So are the templates of `weir new` into the command.
$(BUILD)/obj/client/new.c.o: $(wildcard client/templates/*/*)

# The SDK as a job sees it, in the build tree: build/include, build/lib/pkgconfig/weir.pc (relocatable).
$(BUILD)/include/weir/%.h: include/weir/%.h
	@mkdir -p $(@D)
	@cp $< $@
HEADERS := $(patsubst include/%,$(BUILD)/include/%,$(wildcard include/weir/*.h))
$(BUILD)/lib/pkgconfig/weir.pc: mk/weir.pc.in VERSION
	@mkdir -p $(@D)
	@sed 's/@VERSION@/$(VERSION)/' $< > $@

# librdkafka: linked by its name, librdkafka.so.1. The current release is put where programs look first, if `make deps` fetched it (why:
# scripts/kafka/librdkafka.sh); else, and with RDKAFKA=system, they find the distribution's.
RDKAFKA ?= current
librdkafka:
	@CC='$(CC)' scripts/kafka/librdkafka.sh put $(BUILD)/lib/weir $(RDKAFKA)

all: $(BINARIES) $(LIBWEIR) $(HEADERS) $(BUILD)/lib/pkgconfig/weir.pc librdkafka
.PHONY: all librdkafka
