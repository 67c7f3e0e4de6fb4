# The guest kernel. Included by the top Makefile.

$(BUILD)/vmlinux: kernel-config/fragment.config kernel-config/build-kernel.sh
	@mkdir -p $(@D)
	kernel-config/build-kernel.sh $@
