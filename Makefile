# weir: build, tests, benches. `make help` lists the targets.
#
# One archive per folder of sources (build/lib/<folder>.a), so that a test links what it names and no more;
# libweir.so (the SDK and common/) and three binaries on top. Generated protobuf-c code lies in build/proto.
# BUILD=dir builds elsewhere; SAN=address,undefined or SAN=thread builds with sanitizers.

BUILD   ?= build
PREFIX  ?= /usr/local
CC      ?= cc
CXX     ?= c++
SAN     ?=
OPT     ?= -O2
VERSION := $(shell cat VERSION)

PKGS    := libzmq libprotobuf-c jansson libcurl libmicrohttpd libxxhash libcrypto zlib
# Of the TaskManager alone (and of weir, which is one with --local): an extra library on those links.
TM_LIBS := $(shell pkg-config --libs rocksdb 2>/dev/null || echo -lrocksdb) -lrdkafka
WARN    := -Wall -Wextra -Wshadow -Wpointer-arith -Wcast-align -Wvla -Wwrite-strings -Wformat=2 -Wundef
WARN_C  := $(WARN) -Wstrict-prototypes -Wmissing-prototypes
HARDEN  := -fstack-protector-strong -D_FORTIFY_SOURCE=2
ifneq ($(SAN),)
HARDEN  :=
OPT     := -O1 -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=undefined
endif
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CPPFLAGS := -D_GNU_SOURCE -DWEIR_VERSION='"$(VERSION)"' -Iinclude -Icommon -Itaskmanager -I. -I$(BUILD)/proto $(PKG_CFLAGS)
CFLAGS   := -std=c11 $(OPT) -g -ffile-prefix-map=$(CURDIR)=. -fPIC -fno-semantic-interposition -fvisibility=default -pthread $(HARDEN) $(WARN_C)
CXXFLAGS := -std=c++17 $(OPT) -g -ffile-prefix-map=$(CURDIR)=. -fPIC -pthread -fno-exceptions $(HARDEN) $(WARN)
LDFLAGS  := -pthread -Wl,-z,relro,-z,now $(if $(SAN),-fsanitize=$(SAN))
LIBS     := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lsimdjson -ldl -lm -lstdc++

.DEFAULT_GOAL := all

# --- Modules: every folder with sources
COMMON_DIRS := common/base common/data common/expr common/format common/net common/http common/registry common/store common/statefile common/graph common/sdk
JM_DIRS     := jobmanager/core jobmanager/io jobmanager/rest
TM_DIRS     := taskmanager/core taskmanager/executor taskmanager/task taskmanager/exchange taskmanager/ops \
               taskmanager/state taskmanager/connectors taskmanager/io
CLIENT_DIRS := client
MODULE_DIRS := $(COMMON_DIRS) $(JM_DIRS) $(TM_DIRS) $(CLIENT_DIRS)

PROTOS     := $(wildcard proto/*.proto)
PROTO_C    := $(PROTOS:proto/%.proto=$(BUILD)/proto/%.pb-c.c)
PROTO_H    := $(PROTO_C:.c=.h)

sources     = $(filter-out %/main.c,$(wildcard $(1)/*.c $(1)/*.cc $(1)/*/*.c))
objects     = $(patsubst %,$(BUILD)/obj/%.o,$(call sources,$(1)))
archive     = $(BUILD)/lib/$(subst /,_,$(1)).a

$(BUILD)/obj/%.c.o: %.c | $(PROTO_H)
	@mkdir -p $(@D)
	@echo '  CC   $<'
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(CFLAGS_$(subst /,_,$*)) -MMD -MP -c $< -o $@
$(BUILD)/obj/%.cc.o: %.cc
	@mkdir -p $(@D)
	@echo '  CXX  $<'
	@$(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/proto/%.pb-c.c $(BUILD)/proto/%.pb-c.h &: proto/%.proto
	@mkdir -p $(@D)
	@echo '  PB   $<'
	@protoc-c --proto_path=proto --c_out=$(BUILD)/proto $<
$(BUILD)/obj/proto/%.o: $(BUILD)/proto/%.pb-c.c | $(PROTO_H)
	@mkdir -p $(@D)
	@$(CC) $(CPPFLAGS) -std=c11 $(OPT) -g -ffile-prefix-map=$(CURDIR)=. -fPIC -c $< -o $@

.SECONDARY: $(PROTO_C) $(PROTO_H)
.DELETE_ON_ERROR:

define module
$(call archive,$(1)): $(call objects,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	@ar rcs $$@ $$^
endef
$(foreach d,$(MODULE_DIRS),$(eval $(call module,$(d))))
$(BUILD)/lib/proto.a: $(PROTOS:proto/%.proto=$(BUILD)/obj/proto/%.o)
	@mkdir -p $(@D)
	@rm -f $@
	@ar rcs $@ $^

COMMON_AR := $(foreach d,$(COMMON_DIRS),$(call archive,$(d))) $(BUILD)/lib/proto.a
JM_AR     := $(foreach d,$(JM_DIRS),$(call archive,$(d)))
TM_AR     := $(foreach d,$(TM_DIRS),$(call archive,$(d)))
CLIENT_AR := $(foreach d,$(CLIENT_DIRS),$(call archive,$(d)))

include mk/binaries.mk
include mk/install.mk
include mk/tests.mk
include mk/fuzz.mk
include mk/examples.mk
include mk/bench.mk
include mk/tools.mk
include mk/sim.mk
include mk/torture.mk

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
