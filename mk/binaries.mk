# libweir (the SDK and common/, shared and static), the three binaries, headers and pkg-config file.
# Binaries find libweir.so beside themselves (../lib), so that build/ and an installed tree both work.

SOVERSION := 0
LIBWEIR   := $(BUILD)/lib/libweir.so
BINARIES  := $(BUILD)/bin/weir $(BUILD)/bin/weir-jobmanager $(BUILD)/bin/weir-taskmanager
RPATH     := -Wl,-rpath,'$$ORIGIN/../lib'

$(BUILD)/lib/libweir.so.$(VERSION): $(COMMON_AR)
	@echo '  LINK $@'
	@$(CC) -shared $(LDFLAGS) -Wl,-soname,libweir.so.$(SOVERSION) -Wl,-Bsymbolic-functions -o $@ \
	    -Wl,--whole-archive $(COMMON_AR) -Wl,--no-whole-archive $(LIBS)
$(LIBWEIR): $(BUILD)/lib/libweir.so.$(VERSION)
	@ln -sf $(<F) $(BUILD)/lib/libweir.so.$(SOVERSION)
	@ln -sf $(<F) $@
$(BUILD)/lib/libweir.a: $(COMMON_AR)
	@rm -f $@ $@.mri
	@printf 'create %s\n' $@ > $@.mri; for a in $(COMMON_AR); do printf 'addlib %s\n' $$a >> $@.mri; done; \
	    printf 'save\nend\n' >> $@.mri
	@ar -M < $@.mri
	@rm -f $@.mri

link_binary = @mkdir -p $(@D); echo "  LINK $@"; $(CC) $(LDFLAGS) -pie $(RPATH) -o $@ $(filter %.o,$^) \
    -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -L$(BUILD)/lib -lweir $(LIBS) -rdynamic

$(BUILD)/bin/weir-jobmanager: $(BUILD)/obj/jobmanager/main.c.o $(JM_AR) | $(LIBWEIR)
	$(link_binary)
$(BUILD)/bin/weir-taskmanager: $(BUILD)/obj/taskmanager/main.c.o $(TM_AR) | $(LIBWEIR)
	$(link_binary)
$(BUILD)/bin/weir: $(BUILD)/obj/client/main.c.o $(CLIENT_AR) $(JM_AR) $(TM_AR) | $(LIBWEIR)
	$(link_binary)
$(BINARIES): $(LIBWEIR)

# The status page is read into the JobManager by .incbin.
$(BUILD)/obj/jobmanager/rest/web.c.o: jobmanager/rest/web/index.html

# The SDK as a job sees it, in the build tree: build/include, build/lib/pkgconfig/weir.pc (relocatable).
$(BUILD)/include/weir/%.h: include/weir/%.h
	@mkdir -p $(@D)
	@cp $< $@
HEADERS := $(patsubst include/%,$(BUILD)/include/%,$(wildcard include/weir/*.h))
$(BUILD)/lib/pkgconfig/weir.pc: mk/weir.pc.in VERSION
	@mkdir -p $(@D)
	@sed 's/@VERSION@/$(VERSION)/' $< > $@

all: $(BINARIES) $(LIBWEIR) $(BUILD)/lib/libweir.a $(HEADERS) $(BUILD)/lib/pkgconfig/weir.pc
.PHONY: all
