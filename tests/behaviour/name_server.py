#!/usr/bin/python3
"""A tiny name server: name_server.py ADDRESS PORT ANSWER gives ANSWER as the IPv4 address of every name, by UDP and TCP.

Names that begin with "many." have MANY addresses, for which UDP has no room. It prints "ready" when it can be asked.
"""

import socket
import socketserver
import struct
import sys
import threading

MANY = 250  # some 4 KiB


def answer(question, address, by_tcp):
    """The answer to a question for one name (RFC 1035, 4.1)."""
    end = question.index(b"\0", 12) + 5
    many = question[12:].startswith(b"\4many")
    count = (MANY if by_tcp else 0) if many else 1
    flags = 0x8180 | (0x0200 if many and not by_tcp else 0)  # an answer; truncated
    if question[end - 4:end - 2] != b"\0\1":  # only IPv4 addresses are known
        count = 0
    record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton(address)
    return question[:2] + struct.pack(">HHHHH", flags, 1, count, 0, 0) + question[12:end] + record * count


class Datagrams(socketserver.BaseRequestHandler):
    """A question by UDP."""
    def handle(self):
        question, server = self.request
        server.sendto(answer(question, sys.argv[3], False), self.client_address)


class Connections(socketserver.BaseRequestHandler):
    """Questions by TCP, each with its length before it."""
    def handle(self):
        while len(length := self.request.recv(2, socket.MSG_WAITALL)) == 2:
            question = self.request.recv(struct.unpack(">H", length)[0], socket.MSG_WAITALL)
            told = answer(question, sys.argv[3], True)
            self.request.sendall(struct.pack(">H", len(told)) + told)


def main():
    """Serves until it is killed."""
    at = (sys.argv[1], int(sys.argv[2]))
    socketserver.TCPServer.allow_reuse_address = True
    connections = socketserver.ThreadingTCPServer(at, Connections)
    datagrams = socketserver.UDPServer(at, Datagrams)
    threading.Thread(target=connections.serve_forever, daemon=True).start()
    print("ready", flush=True)
    datagrams.serve_forever()


if __name__ == "__main__":
    main()
