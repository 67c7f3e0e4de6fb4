"""A guest's driver of shared files, without a guest: vhost-user and FUSE requests to a virtiofsd.

Specifications: the vhost-user protocol of QEMU's documentation, virtio 1.2 (split queues, file system device), and
linux/fuse.h, whose structures are packed here by hand.
"""

import array
import mmap
import os
import select
import socket
import struct

MEMORY = 4 << 20
QUEUES, QUEUE_SIZE = 2, 16                # of high priority (not used), of requests
DESCRIPTORS, AVAILABLE, USED = 0x0000, 0x1000, 0x2000
QUEUE_BYTES, TO_DEVICE, FROM_DEVICE = 0x4000, 0x10000, 0x200000
SECONDS = 20
# VIRTIO_F_VERSION_1, VHOST_USER_F_PROTOCOL_FEATURES
FEATURES = 1 << 32 | 1 << 30
(GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE,
 SET_VRING_KICK, SET_VRING_CALL, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, SET_VRING_ENABLE) = \
    1, 2, 3, 5, 8, 9, 10, 11, 12, 13, 15, 16, 18


class Lost(Exception):
    """The virtiofsd does not answer, or not as it should."""


class Server:
    """A connection to a virtiofsd, and its file system, initialized."""

    def __init__(self, connection):
        self.connection = connection
        connection.settimeout(SECONDS)
        self.memory_fd = os.memfd_create("guest")
        os.ftruncate(self.memory_fd, MEMORY)
        self.memory = mmap.mmap(self.memory_fd, MEMORY)
        self.kicks = [os.eventfd(0) for _ in range(QUEUES)]
        self.calls = [os.eventfd(0) for _ in range(QUEUES)]
        self.number = 0
        try:
            self.connect()
        except OSError as error:
            raise Lost(f"vhost-user: {error}") from error

    def close(self):
        self.memory.close()
        for fd in (self.memory_fd, *self.kicks, *self.calls):
            os.close(fd)
        self.connection.close()

    # --- vhost-user ---------------------------------------------------------------------------------------------

    def tell(self, request, body=b"", fd=None):
        rights = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        self.connection.sendmsg([struct.pack("<III", request, 1, len(body)) + body], rights)

    def ask(self, request, body=b""):
        self.tell(request, body)
        head = self.connection.recv(12, socket.MSG_WAITALL)
        if len(head) < 12:
            raise Lost("vhost-user: hung up")
        return self.connection.recv(struct.unpack("<III", head)[2], socket.MSG_WAITALL)

    def connect(self):
        self.tell(SET_OWNER)
        self.ask(GET_FEATURES)
        self.ask(GET_PROTOCOL_FEATURES)
        self.tell(SET_PROTOCOL_FEATURES, struct.pack("<Q", 0))
        self.tell(SET_FEATURES, struct.pack("<Q", FEATURES))
        self.tell(SET_MEM_TABLE, struct.pack("<IIQQQQ", 1, 0, 0, MEMORY, 0, 0), self.memory_fd)
        for queue in range(QUEUES):
            base = queue * QUEUE_BYTES
            self.tell(SET_VRING_NUM, struct.pack("<II", queue, QUEUE_SIZE))
            self.tell(SET_VRING_BASE, struct.pack("<II", queue, 0))
            self.tell(SET_VRING_ADDR, struct.pack("<IIQQQQ", queue, 0, base + DESCRIPTORS, base + USED,
                                                  base + AVAILABLE, 0))
            self.tell(SET_VRING_CALL, struct.pack("<Q", queue), self.calls[queue])
            self.tell(SET_VRING_KICK, struct.pack("<Q", queue), self.kicks[queue])
            self.tell(SET_VRING_ENABLE, struct.pack("<II", queue, 1))

    def stop_queues(self):
        for queue in range(QUEUES):
            self.ask(GET_VRING_BASE, struct.pack("<II", queue, 0))

    # --- the queue of requests ----------------------------------------------------------------------------------

    def exchange(self, out, sizes):
        """Each of `out` in a buffer of its own, as Linux has it, and buffers of these sizes for the answer."""
        base, place, chain = QUEUE_BYTES, TO_DEVICE, []
        for data in out:
            self.memory[place:place + len(data)] = data
            chain.append((place, len(data), 0))
            place += len(data)
        place = FROM_DEVICE
        for size in sizes:
            chain.append((place, size, 2))
            place += size
        for i, (address, length, flags) in enumerate(chain):
            last = i == len(chain) - 1
            struct.pack_into("<QIHH", self.memory, base + DESCRIPTORS + 16 * i, address, length,
                             flags | (0 if last else 1), 0 if last else i + 1)
        struct.pack_into("<H", self.memory, base + AVAILABLE + 4 + 2 * (self.number % QUEUE_SIZE), 0)
        self.number += 1
        struct.pack_into("<H", self.memory, base + AVAILABLE + 2, self.number & 0xffff)
        os.eventfd_write(self.kicks[1], 1)
        while struct.unpack_from("<H", self.memory, base + USED + 2)[0] != self.number & 0xffff:
            ready = select.select([self.calls[1], self.connection], [], [], SECONDS)[0]
            if self.calls[1] not in ready:
                raise Lost("it hung up" if ready else "no answer")
            os.eventfd_read(self.calls[1])
        return self.memory[FROM_DEVICE:place]

    def request(self, opcode, node, *arguments, answer=(), user=0, wanted=0):
        """The body of the answer. wanted: the errno value that is right."""
        sizes = answer if isinstance(answer, tuple) else (answer,)
        length = 40 + sum(map(len, arguments))
        head = struct.pack("<IIQQIIII", length, opcode, self.number + 1, node, user, user, 1, 0)
        data = self.exchange([head, *arguments], [16, *sizes])
        length, error, _ = struct.unpack_from("<IiQ", data)
        if error != -wanted:
            raise Lost(f"request {opcode}: {os.strerror(-error)}")
        return data[16:length]

    # --- FUSE, as far as the tests need it ----------------------------------------------------------------------

    def initialize(self):
        self.request(26, 0, struct.pack("<IIII", 7, 36, 0, 0) + bytes(48), answer=64)

    @staticmethod
    def name(text):
        return text.encode() + b"\0"

    def lookup(self, parent, name):
        return struct.unpack_from("<Q", self.request(1, parent, self.name(name), answer=128))[0]

    def open(self, node, flags, directory=False):
        return struct.unpack_from("<Q", self.request(27 if directory else 14, node, struct.pack("<II", flags, 0),
                                                     answer=16))[0]

    def create(self, parent, name, mode, user=0):
        """Its node and handle."""
        data = self.request(35, parent, struct.pack("<IIII", os.O_RDWR, mode, 0, 0), self.name(name), answer=(128, 16),
                            user=user)
        return struct.unpack_from("<Q", data)[0], struct.unpack_from("<Q", data, 128)[0]

    def release(self, node, handle, directory=False):
        self.request(29 if directory else 18, node, struct.pack("<QIIQ", handle, 0, 0, 0))

    def set_attributes(self, node, valid, handle=0, size=0, mode=0, user=0, group=0):
        """valid: 1 mode, 2 user, 4 group, 8 size, 32 modification time, 64 by handle"""
        self.request(4, node, struct.pack("<IIQQQQQQIIIIIIII", valid, 0, handle, size, 0, 0, 1, 0, 0, 0, 0, mode, 0,
                                          user, group, 0), answer=104)
