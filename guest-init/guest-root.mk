# The root file system of every guest: hybrid-init and the directories that it mounts on. Nothing in it depends on
# when, where or by whom it is built.

GUEST_ROOT_DIRECTORIES := proc sys dev layers scratch shares

$(BUILD)/guest-root.erofs: $(BUILD)/hybrid-init guest-init/guest-root.mk
	@rm -rf $(BUILD)/guest-root $@.new
	@mkdir -p $(addprefix $(BUILD)/guest-root/,$(GUEST_ROOT_DIRECTORIES))
	@install -m 755 $(BUILD)/hybrid-init $(BUILD)/guest-root/hybrid-init
	@find $(BUILD)/guest-root -type d -exec chmod 755 {} +
	mkfs.erofs --quiet --all-root -T0 -U00000000-0000-0000-0000-000000000000 -x-1 $@.new $(BUILD)/guest-root
	@truncate -s %4096 $@.new
	@rm -rf $(BUILD)/guest-root
	@mv $@.new $@
