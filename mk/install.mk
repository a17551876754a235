# install, uninstall: PREFIX, DESTDIR, LIBDIR, SYSCONFDIR (scripts/install.py has the list of files). package: .deb files and a tar.gz.

DESTDIR    ?=
LIBDIR     ?=
SYSCONFDIR ?=

# A library in another place than PREFIX/lib is the system linker's to find: programs without a search path of their own.
PLAIN_BIN := $(BUILD)/package/bin
$(PLAIN_BIN)/weir-jobmanager: $(BUILD)/obj/jobmanager/main.c.o $(JM_AR) | $(LIBWEIR)
$(PLAIN_BIN)/weir-taskmanager: $(BUILD)/obj/taskmanager/main.c.o $(TM_AR) | $(LIBWEIR)
$(PLAIN_BIN)/weir: $(BUILD)/obj/client/main.c.o $(CLIENT_AR) $(JM_AR) $(TM_AR) | $(LIBWEIR)
PLAIN_BINARIES := $(BINARIES:$(BUILD)/bin/%=$(PLAIN_BIN)/%)
$(PLAIN_BINARIES): RPATH :=
$(PLAIN_BIN)/weir-taskmanager $(PLAIN_BIN)/weir: LINK_EXTRA := $(TM_LIBS)
$(PLAIN_BINARIES): $(LIBWEIR)
	$(link_binary)

INSTALL_PLAIN := $(filter-out $(PREFIX)/lib,$(LIBDIR))
INSTALL := scripts/install.py --build '$(BUILD)' --prefix '$(PREFIX)' --destdir '$(DESTDIR)' --libdir '$(LIBDIR)' \
           --sysconfdir '$(SYSCONFDIR)' $(if $(INSTALL_PLAIN),--bin-source '$(PLAIN_BIN)')
install: all $(if $(INSTALL_PLAIN),$(PLAIN_BINARIES))
	@$(subst install.py,install.py install,$(INSTALL))
uninstall:
	@$(subst install.py,install.py uninstall,$(INSTALL))
.PHONY: install uninstall

# KINDS=deb or KINDS=tar makes one kind only.
package: all $(PLAIN_BINARIES)
	@scripts/package.py --build '$(BUILD)' $(KINDS)
.PHONY: package
