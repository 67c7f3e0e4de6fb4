# The probe that `hybrid compare` brings into a workload, as a layer of its own: /.hybrid/probe. Included by the top
# Makefile.
PROBE_OBJECTS := $(call objects,$(call sources,runtime/compare/probe))

$(BUILD)/hybrid-probe: $(PROBE_OBJECTS)
	$(call quiet,LINK)$(CC) $(CFLAGS) -s $(STATIC) $(LDFLAGS) -o $@ $^

$(BUILD)/probe.erofs: $(BUILD)/hybrid-probe runtime/compare/compare.mk
	@rm -rf $(BUILD)/probe-root $@.new
	@mkdir -p $(BUILD)/probe-root/.hybrid
	@install -m 755 $(BUILD)/hybrid-probe $(BUILD)/probe-root/.hybrid/probe
	@find $(BUILD)/probe-root -type d -exec chmod 755 {} +
	mkfs.erofs --quiet --all-root -T0 -U00000000-0000-0000-0000-000000000000 -x-1 $@.new $(BUILD)/probe-root
	@truncate -s %4096 $@.new
	@rm -rf $(BUILD)/probe-root
	@mv $@.new $@
