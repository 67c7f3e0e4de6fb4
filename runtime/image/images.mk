# The embedded image, an OCI archive of Debian's busybox-static. Included by the top Makefile.
BUSYBOX ?= /bin/busybox

$(BUILD)/images/busybox.tar: runtime/image/make-busybox.sh $(wildcard $(BUSYBOX))
	@mkdir -p $(@D)
	runtime/image/make-busybox.sh $(BUSYBOX) $@
