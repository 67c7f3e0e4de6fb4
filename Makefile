# hybrid: one image, two isolations. `make help` lists the targets.

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
VERSION := 0.1.0

# make presets CC to cc: ours is gcc, unless the caller says otherwise.
ifeq ($(origin CC),default)
CC       := gcc
endif
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DHYBRID_VERSION='"$(VERSION)"' -I. -Iinclude -MMD -MP
OPTIMIZE ?= -O2
SYMBOLS  ?= -g
CFLAGS   += -std=gnu11 $(OPTIMIZE) $(SYMBOLS) $(WARNINGS) -fstack-protector-strong -fPIE -fno-plt
STATIC   := -static-pie -Wl,-z,relro,-z,now -Wl,--gc-sections
SECTIONS := -ffunction-sections -fdata-sections

# One short line a file; `make V=1` shows the commands.
ifeq ($(V),)
quiet = @printf '  %-5s %s\n' '$(1)' '$(patsubst $(BUILD)/%,%,$@)';
endif

# --- rooms -------------------------------------------------------------------------------------
# Every room of the runtime is one archive, so that each program links only what it uses.
ROOMS := cli compare engine launch doctor policy monitor container vm network state image plan sandbox cgroup program

sources    = $(wildcard $(1)/*.c)
objects    = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
room_libs  = $(foreach room,$(1),$(BUILD)/obj/lib$(room).a)

CLI_OBJECTS   := $(call objects,$(call sources,runtime/cli))
IMAGE_OBJECTS := $(call objects,$(call sources,runtime/image/helper) $(call sources,runtime/image/registry))
VMM_SOURCES   := $(call sources,vmm) $(call sources,vmm/virtio) $(call sources,vmm/x86_64)
VMM_OBJECTS   := $(call objects,$(VMM_SOURCES))
INIT_OBJECTS  := $(call objects,$(call sources,guest-init))

# The jail and its filters are the monitor's, with a table of its own.
NAMES_OBJECTS := $(call objects,$(call sources,vmm/names) vmm/jail.c vmm/landlock.c vmm/seccomp.c)

PROGRAMS := $(BUILD)/hybrid $(BUILD)/hybrid-image $(BUILD)/hybrid-vmm $(BUILD)/hybrid-names $(BUILD)/hybrid-init

.DEFAULT_GOAL := all
.PHONY: all programs help clean install uninstall demo test unit behaviour testbed packages \
        format check-format tidy FORCE
.SUFFIXES:
.DELETE_ON_ERROR:

all: programs $(BUILD)/vmlinux $(BUILD)/guest-root.erofs $(BUILD)/probe.erofs \
    $(BUILD)/images/busybox.tar ## build everything into build/
programs: $(PROGRAMS) ## build the five programs only

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(CPPFLAGS) $(CFLAGS) $(SECTIONS) -c -o $@ $<

define room_rule
$(BUILD)/obj/lib$(1).a: $(call objects,$(call sources,runtime/$(1)))
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(call quiet,AR)$$(AR) rcs $$@ $$^
endef
$(foreach room,$(ROOMS),$(eval $(call room_rule,$(room))))

# The jail of virtiofsd: filters and Landlock are the monitor's, with a table of its own.
$(BUILD)/obj/libvm.a: $(call objects,vmm/landlock.c vmm/seccomp.c)

$(BUILD)/obj/libvmm.a: $(filter-out %/main.o,$(VMM_OBJECTS))
	@mkdir -p $(@D)
	@rm -f $@
	$(call quiet,AR)$(AR) rcs $@ $^

$(BUILD)/obj/libnames.a: $(filter-out %/main.o,$(NAMES_OBJECTS))
	@mkdir -p $(@D)
	@rm -f $@
	$(call quiet,AR)$(AR) rcs $@ $^

$(BUILD)/obj/libhelper.a: $(filter-out %/main.o,$(IMAGE_OBJECTS))
	@mkdir -p $(@D)
	@rm -f $@
	$(call quiet,AR)$(AR) rcs $@ $^

$(BUILD)/hybrid: $(CLI_OBJECTS) $(call room_libs,compare engine launch doctor monitor container vm network state policy image plan sandbox cgroup program)
	$(call quiet,LINK)$(CC) $(CFLAGS) $(STATIC) $(LDFLAGS) -o $@ $(CLI_OBJECTS) \
	    -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -lseccomp -ljansson -lm

$(BUILD)/hybrid-image: $(IMAGE_OBJECTS) $(call room_libs,image plan)
	$(call quiet,LINK)$(CC) $(CFLAGS) -pie -Wl,-z,relro,-z,now $(LDFLAGS) -o $@ $^ -larchive -lcurl -lcrypto -lseccomp -ljansson

$(BUILD)/hybrid-vmm: $(VMM_OBJECTS)
	$(call quiet,LINK)$(CC) $(CFLAGS) $(STATIC) $(LDFLAGS) -pthread -o $@ $^ -lfdt -lseccomp

$(BUILD)/hybrid-names: $(NAMES_OBJECTS)
	$(call quiet,LINK)$(CC) $(CFLAGS) $(STATIC) $(LDFLAGS) -o $@ $^

$(BUILD)/hybrid-init: $(INIT_OBJECTS) $(call room_libs,sandbox plan cgroup network program)
	$(call quiet,LINK)$(CC) $(CFLAGS) $(STATIC) -s $(LDFLAGS) -o $@ $(INIT_OBJECTS) \
	    -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -ljansson

# --- parts with rules of their own ----------------------------------------------------------------
include kernel-config/kernel.mk
include guest-init/guest-root.mk
include runtime/image/images.mk
include runtime/compare/compare.mk
include tests/tests.mk

# --- install ------------------------------------------------------------------------------------
install: all ## install below DESTDIR/PREFIX
	install -D -m 755 $(BUILD)/hybrid $(DESTDIR)$(PREFIX)/bin/hybrid
	ln -sf hybrid $(DESTDIR)$(PREFIX)/bin/hybrid-vm
	install -D -m 755 $(BUILD)/hybrid-image $(DESTDIR)$(PREFIX)/libexec/hybrid/hybrid-image
	install -D -m 755 $(BUILD)/hybrid-vmm $(DESTDIR)$(PREFIX)/libexec/hybrid/hybrid-vmm
	install -D -m 755 $(BUILD)/hybrid-names $(DESTDIR)$(PREFIX)/libexec/hybrid/hybrid-names
	install -D -m 644 $(BUILD)/vmlinux $(DESTDIR)$(PREFIX)/libexec/hybrid/vmlinux
	install -D -m 644 $(BUILD)/guest-root.erofs $(DESTDIR)$(PREFIX)/libexec/hybrid/guest-root.erofs
	install -D -m 644 $(BUILD)/probe.erofs $(DESTDIR)$(PREFIX)/libexec/hybrid/probe.erofs
	install -D -m 644 $(BUILD)/images/busybox.tar $(DESTDIR)$(PREFIX)/libexec/hybrid/images/busybox.tar
	install -D -m 644 runtime/cli/hybrid.1 $(DESTDIR)$(PREFIX)/share/man/man1/hybrid.1
	install -D -m 644 runtime/cli/hybrid.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/hybrid
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/hybrid/policy $(wildcard runtime/policy/*.json)

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/hybrid $(DESTDIR)$(PREFIX)/bin/hybrid-vm
	rm -f $(DESTDIR)$(PREFIX)/share/man/man1/hybrid.1
	rm -f $(DESTDIR)$(PREFIX)/share/bash-completion/completions/hybrid
	rm -rf $(DESTDIR)$(PREFIX)/libexec/hybrid $(DESTDIR)$(PREFIX)/share/hybrid

clean: ## remove build/
	rm -rf $(BUILD)

# --- style ----------------------------------------------------------------------------------------
C_FILES := $(shell find include runtime vmm guest-init tests -name '*.[ch]' | sort)

format: ## rewrite the sources as .clang-format says
	clang-format -i $(C_FILES)

check-format: ## fail if clang-format would change a file
	clang-format --dry-run -Werror $(C_FILES)

# A process a file: clang-tidy 14 carries what it learnt of va_list from one file into the next.
tidy: ## clang-tidy over every source file
	@printf '%s\n' $(filter %.c,$(C_FILES)) | xargs -P "$$(nproc)" -I{} \
	    clang-tidy --quiet {} -- -std=gnu11 $(filter-out -MMD -MP,$(CPPFLAGS)) 2>/dev/null

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
