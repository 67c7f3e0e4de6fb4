"""QEMU's microvm with the guest kernel of hybrid itself, byte for byte: a peer that differs in nothing but the monitor.

The vmlinux has neither ACPI nor PCI, and QEMU offers its -kernel no device tree; hybrid-vmm hands one over by the 64-bit
boot protocol. So a copy of the vmlinux gets a segment more: a PVH entry (Xen's start of a plain ELF file, which QEMU knows)
that turns to 64-bit mode and goes on to the kernel with a zero page, a command line and a device tree, all made here.
"""

import struct
import subprocess

MMIO_BASE, MMIO_SIZE = 0xfeb00000, 0x200  # hw/i386/microvm.c, include/hw/i386/microvm.h
FIRST_PIN = 16                            # of the IOAPIC, with acpi=on and ioapic2=off
IOAPIC, LAPIC = 0xfec00000, 0xfee00000
FIRMWARE_TABLE = 0x9fc00                  # where qboot, QEMU's firmware for it, puts an MP table
PAGE = 0x1000
START = 64 << 20                          # beyond the kernel, within the smallest machine
GDT, ZERO_PAGE, TABLES, COMMAND_LINE, TREE = (START + offset for offset in (0x800, PAGE, 2 * PAGE, 5 * PAGE, 6 * PAGE))
CODE, DATA = 0x10, 0x18                   # selectors, as the boot protocol wants them


# --- device tree (the Devicetree Specification, chapter 5) ------------------------------------------


class Tree:
    def __init__(self):
        self.structure, self.strings = b"", b""

    @staticmethod
    def padded(data):
        return data + b"\0" * (-len(data) % 4)

    def begin(self, name):
        self.structure += struct.pack(">I", 1) + self.padded(name.encode() + b"\0")

    def end(self):
        self.structure += struct.pack(">I", 2)

    def property(self, name, value=b""):
        data = (value.encode() + b"\0" if isinstance(value, str) else
                struct.pack(">I", value) if isinstance(value, int) else value)
        self.structure += struct.pack(">III", 3, len(data), len(self.strings)) + self.padded(data)
        self.strings += name.encode() + b"\0"

    def bytes(self):
        structure = self.structure + struct.pack(">I", 9)
        reserved, header = bytes(16), 40
        size = header + len(reserved) + len(structure) + len(self.strings)
        return struct.pack(">10I", 0xd00dfeed, size, header + len(reserved), header + len(reserved) + len(structure),
                           header, 17, 16, 0, len(self.strings), len(structure)) + reserved + structure + self.strings


def device_tree(devices):
    tree = Tree()
    tree.begin("")
    tree.property("compatible", "qemu,microvm")  # of a root without one Linux takes nothing but devices
    for name in ("#address-cells", "#size-cells"):
        tree.property(name, 2)
    tree.property("interrupt-parent", 1)
    tree.begin("cpus")
    tree.property("#address-cells", 1)
    tree.property("#size-cells", 0)
    tree.begin("cpu@0")
    tree.property("device_type", "cpu")
    tree.property("compatible", "x86,64")
    tree.property("reg", 0)
    tree.end()
    tree.end()
    for name, address in (("lapic", LAPIC), ("ioapic", IOAPIC)):
        tree.begin(f"{name}@{address:x}")
        tree.property("compatible", "intel,ce4100-" + name)
        tree.property("reg", struct.pack(">QQ", address, PAGE))
        if name == "ioapic":
            tree.property("interrupt-controller")
            tree.property("#interrupt-cells", 2)
            tree.property("phandle", 1)
        tree.end()
    tree.begin("soc")
    tree.property("compatible", "simple-bus")
    for name in ("#address-cells", "#size-cells"):
        tree.property(name, 2)
    tree.property("ranges")
    for number in range(devices):
        address = MMIO_BASE + number * MMIO_SIZE
        tree.begin(f"virtio@{address:x}")
        tree.property("compatible", "virtio,mmio")
        tree.property("reg", struct.pack(">QQ", address, MMIO_SIZE))
        tree.property("interrupts", struct.pack(">II", FIRST_PIN + number, 3))  # rising edge
        tree.end()
    tree.end()
    tree.end()
    return tree.bytes()


# --- the segment -------------------------------------------------------------------------------------


def entry_code(kernel):
    """From 32-bit protected mode without paging, where PVH begins, to the kernel's 64-bit entry."""
    def number(value):
        return struct.pack("<I", value)
    bits32 = b"".join((
        b"\xfa",                                        # cli
        b"\xc7\x05", number(FIRMWARE_TABLE), number(0),  # no second description of the processor and its controllers
        b"\xb8", number(TABLES), b"\x0f\x22\xd8",       # cr3 = tables
        b"\x0f\x20\xe0\x83\xc8\x20\x0f\x22\xe0",        # cr4 |= PAE
        b"\xb9", number(0xc0000080), b"\x0f\x32",       # EFER
        b"\x0d", number(0x100), b"\x0f\x30",            # |= LME
        b"\x0f\x20\xc0\x0d", number(0x80000001), b"\x0f\x22\xc0",  # cr0 |= PG, PE
        b"\x0f\x01\x15", number(GDT),                   # lgdt
    ))
    bits32 += b"\xea" + number(START + len(bits32) + 7) + struct.pack("<H", CODE)  # a far jump, over itself
    return bits32 + b"".join((
        b"\xb8", number(DATA), b"\x8e\xd8\x8e\xc0\x8e\xd0",  # ds, es, ss
        b"\xbe", number(ZERO_PAGE),                     # rsi
        b"\xb8", number(kernel), b"\xff\xe0",           # jmp *rax
    ))


def zero_page(memory):
    """struct boot_params (arch/x86/include/uapi/asm/bootparam.h)."""
    page = bytearray(PAGE)
    areas = ((0, 0x9fc00), (0x100000, memory - 0x100000))
    page[0x1e8] = len(areas)
    for number, (start, size) in enumerate(areas):
        struct.pack_into("<QQI", page, 0x2d0 + 20 * number, start, size, 1)
    for offset, kind, value in ((0x1fe, "H", 0xaa55), (0x202, "4s", b"HdrS"), (0x206, "H", 0x020f), (0x210, "B", 0xff),
                                (0x211, "B", 3), (0x228, "I", COMMAND_LINE), (0x230, "I", 0x1000000),
                                (0x238, "I", 2047), (0x250, "Q", TREE)):
        struct.pack_into("<" + kind, page, offset, value)
    return bytes(page)


def page_tables():
    """The first GiB, as it is, by pages of 2 MiB."""
    last = b"".join(struct.pack("<Q", number << 21 | 0x83) for number in range(512))
    return b"".join(struct.pack("<Q", table | 3).ljust(PAGE, b"\0") for table in (TABLES + PAGE, TABLES + 2 * PAGE)) + last


def segment(kernel, memory, command_line, devices):
    tree = device_tree(devices)
    parts = {START: entry_code(kernel), GDT: struct.pack("<HIxx", 31, GDT + 8) + struct.pack(
        "<4Q", 0, 0, 0x00af9a000000ffff, 0x00cf92000000ffff), ZERO_PAGE: zero_page(memory), TABLES: page_tables(),
        COMMAND_LINE: command_line.encode() + b"\0", TREE: struct.pack("<QII", 0, 2, len(tree)) + tree}
    data = bytearray()
    for start, part in parts.items():
        if len(data) > start - START:
            raise ValueError("the parts of the boot segment overlap")
        data = data.ljust(start - START, b"\0") + part
    return bytes(data)


def make_kernel(vmlinux, path, memory, command_line, devices):
    """Writes a vmlinux that QEMU boots to path."""
    with open(vmlinux, "rb") as file:
        elf = file.read()
    entry, table = struct.unpack_from("<QQ", elf, 24)
    count = struct.unpack_from("<H", elf, 56)[0]
    headers = [elf[table + 56 * number:table + 56 * (number + 1)] for number in range(count)]
    headers = [header for header in headers if struct.unpack_from("<I", header)[0] == 1]  # loadable: its notes are others
    end = len(elf) + -len(elf) % PAGE
    extra = segment(entry, memory, command_line, devices)
    note = struct.pack("<III4sQ", 4, 8, 18, b"Xen", START)  # XEN_ELFNOTE_PHYS32_ENTRY
    headers.append(struct.pack("<IIQQQQQQ", 1, 7, end, START, START, len(extra), len(extra), PAGE))
    headers.append(struct.pack("<IIQQQQQQ", 4, 4, end + len(extra), 0, 0, len(note), len(note), 4))
    header = bytearray(elf[:64])
    struct.pack_into("<QQ", header, 32, end + len(extra) + len(note), 0)  # where the headers are; no sections
    struct.pack_into("<HHHH", header, 56, len(headers), 0, 0, 0)
    with open(path, "wb") as file:
        file.write(bytes(header) + elf[64:].ljust(end - 64, b"\0") + extra + note + b"".join(headers))


def command(kernel, memory, disks, accelerator):
    """QEMU's command line: disks of its own thread each, as its manual advises; the console on stdout."""
    line = ["qemu-system-x86_64", "-M", "microvm,acpi=on,ioapic2=off,rtc=off,isa-serial=on", "-accel", accelerator,
            "-cpu", "host" if accelerator == "kvm" else "max", "-m", str(memory >> 20), "-smp", "1", "-nodefaults",
            "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", kernel,
            "-global", "virtio-mmio.force-legacy=false"]
    for number, disk in enumerate(disks):
        thread = f",iothread=thread{number}" if accelerator == "kvm" else ""  # which needs eventfds of KVM
        line += ["-object", f"iothread,id=thread{number}",
                 "-drive", f"id=disk{number},file={disk},format=raw,if=none,readonly=on",
                 "-device", f"virtio-blk-device,drive=disk{number}{thread},bus=virtio-mmio-bus.{number}"]
    return line


def run(kernel, memory, disks, accelerator="kvm", seconds=600):
    """What the guest prints until it ends. Raises subprocess errors."""
    done = subprocess.run(command(kernel, memory, disks, accelerator), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=seconds, check=True)
    return done.stdout.decode(errors="replace").replace("\r", "")
