# Tests, and what they need. Included by the top Makefile.

# CMD reaches the script through the environment, which make fills from its command line: no quoting.
testbed: ## run CMD='...' in the emulated host (KVM, cgroup v2); without CMD: a shell there
	@tests/testbed/run $(TESTBED_FLAGS) $(if $(value CMD),-c "$$CMD")
