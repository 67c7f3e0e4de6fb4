# Tests, and what they need. Included by the top Makefile.

# CMD reaches the script through the environment and unexpanded: neither make nor a shell reads it before
# the shell of the emulated host does.
testbed: export TESTBED_CMD := $(value CMD)
testbed: ## run CMD='...' in the emulated host (KVM, cgroup v2); without CMD: a shell there
	@tests/testbed/run $(TESTBED_FLAGS) $(if $(value CMD),-c "$$TESTBED_CMD")
