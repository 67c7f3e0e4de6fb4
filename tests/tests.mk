# Tests, and what they need. Included by the top Makefile.
#
# Each part prints `PASS name`, `FAIL name` or `SKIP name: why` per case; tests/report counts them.

PYTHON       := /usr/bin/python3
SANITIZE     := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
UNIT_SOURCES := $(sort $(wildcard tests/unit/test_*.c))
UNIT_TESTS   := $(patsubst tests/%.c,$(BUILD)/%,$(UNIT_SOURCES))
RESULTS      := $(BUILD)/test-results
REPORT        = tests/report $(RESULTS)

.PHONY: test-beside-fuzzers unit-programs analyze style installation conformance lifecycles fuzzers fuzz hostile

packages: ## install the Debian packages that building and testing need
	@tests/install-packages
	@tests/testbed/run --prepare
	@$(PYTHON) tests/behaviour/registries.py --prepare

# --- unit ----------------------------------------------------------------------------------------
# A test names the archives it links in a comment of its own: /* link: plan sandbox */. Those are the
# rooms of the runtime and `vmm`, `helper`, `init` (each program without its main.o). Read only when asked for unit
# tests: it costs a process per test.
ifneq ($(filter unit unit-programs $(BUILD)/unit/%,$(MAKECMDGOALS)),)
define unit_rule
$(BUILD)/unit/$(1): $(BUILD)/obj/tests/unit/$(1).o \
    $(foreach room,$(shell sed -n 's|^/\* link:\(.*\)\*/.*|\1|p' tests/unit/$(1).c),$(BUILD)/obj/lib$(room).a)
	@mkdir -p $$(@D)
	$$(call quiet,LINK)$$(CC) $$(CFLAGS) $$(LDFLAGS) -pthread -o $$@ $$< -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group \
	    -Wl,--as-needed -lcmocka -lseccomp -ljansson -lfdt -larchive -lcurl -lcrypto -lm
endef
$(foreach source,$(UNIT_SOURCES),$(eval $(call unit_rule,$(basename $(notdir $(source))))))
endif

$(BUILD)/obj/libinit.a: $(filter-out %/main.o,$(INIT_OBJECTS))
	@mkdir -p $(@D)
	@rm -f $@
	$(call quiet,AR)$(AR) rcs $@ $^

unit-programs: $(UNIT_TESTS)

# The second make builds everything again with sanitizers; CFLAGS in the environment is extended by ours. Not optimized, and
# with no more about each function than a sanitizer's report shows, since compiling takes longer than running.
unit: unit-programs ## run the unit tests, plainly and under sanitizers
	@CFLAGS="$(SANITIZE)" $(MAKE) --no-print-directory BUILD=$(BUILD)/asan OPTIMIZE=-O0 SYMBOLS=-g1 unit-programs
	@plain=0; sanitized=0; \
	tests/unit/run unit $(UNIT_TESTS) || plain=1; \
	tests/unit/run asan $(patsubst $(BUILD)/%,$(BUILD)/asan/%,$(UNIT_TESTS)) || sanitized=1; \
	[ "$$plain$$sanitized" = 00 ]

# --- hostile guests --------------------------------------------------------------------------------
# A bare guest program that drives each device wrongly: no kernel, its own boot code.
HOSTILE_CFLAGS := -std=gnu11 -O2 -g $(WARNINGS) -ffreestanding -fno-stack-protector -mno-red-zone -mgeneral-regs-only \
    -fno-pic -fno-pie -fcf-protection=none -fno-tree-loop-distribute-patterns -fno-asynchronous-unwind-tables
HOSTILE_SOURCES := $(wildcard tests/hostile/guest/*.c) tests/hostile/guest/start.S
HOSTILE         := $(addprefix $(BUILD)/hostile/,guest.elf launch without unfiltered serve names)

$(BUILD)/hostile/guest.elf: $(HOSTILE_SOURCES) $(wildcard tests/hostile/guest/*.h) tests/hostile/guest/guest.ld
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(HOSTILE_CFLAGS) -static -nostdlib -Wl,-T,tests/hostile/guest/guest.ld \
	    -Wl,--build-id=none -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments -o $@ $(HOSTILE_SOURCES)

$(BUILD)/hostile/launch: $(BUILD)/obj/tests/hostile/launch.o $(call room_libs,vm network cgroup sandbox program)
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(CFLAGS) $(STATIC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group

# The monitor with a seccomp table that lacks an entry.
$(BUILD)/hostile/without: $(BUILD)/obj/tests/hostile/seccomp_without.o $(filter-out %/seccomp_rules.o,$(VMM_OBJECTS))
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(CFLAGS) $(STATIC) $(LDFLAGS) -pthread -o $@ $^ -lfdt

# What starts a virtiofsd, with a seccomp table that lacks an entry.
$(BUILD)/hostile/serve: $(addprefix $(BUILD)/obj/tests/hostile/,serve.o shares_without.o) $(call room_libs,vm network sandbox cgroup program)
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(CFLAGS) $(STATIC) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -ljansson

# hybrid-names, the same.
$(BUILD)/hostile/names: $(BUILD)/obj/tests/hostile/names_without.o $(filter-out %/rules.o,$(NAMES_OBJECTS))
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(CFLAGS) $(STATIC) $(LDFLAGS) -o $@ $^

# The monitor without seccomp filters.
$(BUILD)/hostile/unfiltered: $(BUILD)/obj/tests/hostile/seccomp_off.o $(filter-out %/seccomp.o,$(VMM_OBJECTS))
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(CFLAGS) $(STATIC) $(LDFLAGS) -pthread -o $@ $^ -lfdt

hostile: all $(HOSTILE) ## run the hostile guest, the jail's and the seccomp lists' tests in the emulated host
	@tests/hostile/run-all $(abspath $(BUILD))

# --- fuzzing ---------------------------------------------------------------------------------------
# tests/fuzz/fuzz_NAME.c with clang's libFuzzer; its seeds are in tests/fuzz/corpus/NAME. The programs and what
# they link are built apart, with clang and its instrumentation. A harness names its archives as a unit test does,
# and functions that it replaces: /* wrap: poll */.
# Of processor time. As an argument: SECONDS=600. Not from the environment, where a shell may count its own.
FUZZ_SECONDS  ?= $(if $(filter command,$(origin SECONDS)),$(SECONDS),60)
FUZZ_SOURCES  := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZERS       := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/fuzz/%,$(FUZZ_SOURCES))
FUZZ_SANITIZE := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

ifneq ($(filter fuzzers $(BUILD)/fuzz/%,$(MAKECMDGOALS)),)
define fuzz_rule
$(BUILD)/fuzz/$(1): $(BUILD)/obj/tests/fuzz/fuzz_$(1).o \
    $(foreach room,$(shell sed -n 's|^/\* link:\(.*\)\*/.*|\1|p' tests/fuzz/fuzz_$(1).c),$(BUILD)/obj/lib$(room).a)
	@mkdir -p $$(@D)
	$$(call quiet,LINK)$$(CC) $$(CFLAGS) -fsanitize=fuzzer $$(LDFLAGS) -pthread -o $$@ $$< \
	    $(foreach function,$(shell sed -n 's|^/\* wrap:\(.*\)\*/.*|\1|p' tests/fuzz/fuzz_$(1).c),-Wl$(comma)--wrap=$(function)) \
	    -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group \
	    -Wl,--as-needed -lcmocka -lseccomp -ljansson -lfdt -larchive -lcurl -lcrypto
endef
comma := ,
$(foreach source,$(FUZZ_SOURCES),$(eval $(call fuzz_rule,$(patsubst fuzz_%,%,$(basename $(notdir $(source)))))))
endif

fuzzers: $(FUZZERS)

fuzz: ## run every fuzzer for SECONDS (60)
	@CFLAGS="$(FUZZ_SANITIZE)" $(MAKE) --no-print-directory CC=clang BUILD=$(BUILD)/clang SYMBOLS=-g1 fuzzers
	@tests/fuzz/run $(FUZZ_SECONDS) $(patsubst $(BUILD)/%,$(BUILD)/clang/%,$(FUZZERS))

# --- behaviour -----------------------------------------------------------------------------------
behaviour: all ## run the behaviour table: here, and in the emulated host
	@tests/behaviour-here $(abspath $(BUILD)) && here=0 || here=1; \
	tests/behaviour-emulated $(abspath $(BUILD)) && emulated=0 || emulated=1; \
	[ "$$here$$emulated" = 00 ]

# CMD reaches the script through the environment and unexpanded: neither make nor a shell reads it before
# the shell of the emulated host does.
testbed: export TESTBED_CMD := $(value CMD)
testbed: ## run CMD='...' in the emulated host (KVM, cgroup v2); without CMD: a shell there
	@tests/testbed/run $(TESTBED_FLAGS) $(if $(value CMD),-c "$$TESTBED_CMD")

# --- conformance ----------------------------------------------------------------------------------
conformance: all ## drive hybrid through real container engines, and through many lives
	@tests/conformance/run-all $(BUILD)

lifecycles: all ## 1,000 lives of containers, 50 at a time, 200 with kill -9 at a random moment, 200 commands in one
	@HYBRID_LIFECYCLES=1000/50/200/200 tests/conformance/lifecycles $(BUILD)

# --- everything ------------------------------------------------------------------------------------
style: ## check the conventions that a program can check
	@tests/style "$(MAKE)"

analyze: ## cppcheck, and gcc's analyzer on what guests and workloads reach
	@tests/analyze

installation: all ## install into an empty directory, use it, uninstall
	@tests/installation "$(MAKE)" "$(BUILD)"

# One step after the other, whatever -j says: there may be no compiler before the first, and tests measure. But each
# step has all processors: those that only compute use them all, and no two of those that measure run side by side. Only
# fuzzers, which measure nothing, run beside others, with the least priority.
JOBS = -j$(shell nproc)

test: ## install packages, build, run every test that can run here
	@$(MAKE) --no-print-directory packages
	@$(MAKE) --no-print-directory $(JOBS) all
	@$(REPORT) start
	@tests/leaks save $(BUILD)/leaks-before.json
	@$(REPORT) part style tests/style "$(MAKE)"
	@$(REPORT) part analysis tests/analyze
	@$(REPORT) part unit $(MAKE) --no-print-directory $(JOBS) unit
	@$(REPORT) beside fuzzers $(MAKE) --no-print-directory $(JOBS) fuzz -- $(MAKE) --no-print-directory test-beside-fuzzers
	@$(REPORT) part installation tests/installation "$(MAKE)" "$(BUILD)"
	@$(REPORT) part leaks tests/leaks compare $(BUILD)/leaks-before.json
	@$(REPORT) sum

# Parts that leave processors idle: they wait for time limits and engines, or emulate one processor. Fuzzers take what is
# left: of their own cgroup, where niceness counts; what measures compares with something beside it.
test-beside-fuzzers:
	@$(REPORT) part "behaviour, emulated host" tests/behaviour-emulated $(abspath $(BUILD))
	@$(REPORT) part "behaviour, here" tests/behaviour-here $(abspath $(BUILD))
	@$(REPORT) part conformance $(MAKE) --no-print-directory conformance
	@$(REPORT) part "hostile guests" $(MAKE) --no-print-directory $(JOBS) hostile

demo: ## install packages, build, run one image in both isolations
	@$(MAKE) --no-print-directory packages
	@$(MAKE) --no-print-directory $(JOBS) all
	@tests/demo.sh $(abspath $(BUILD))
