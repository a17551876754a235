"""A ZeroMQ peer made of plain sockets, for tests that want to do what a real one never does; and just enough of protobuf and of
the data plane's frames (common/net/frame.h) to say what weir says.
"""
import ctypes
import ctypes.util
import socket
import struct

SIGNATURE = b"\xff" + b"\0" * 8 + b"\x7f"


def greeting(major=3, minor=1, mechanism=b"NULL"):
    return SIGNATURE + bytes([major, minor]) + mechanism.ljust(20, b"\0") + b"\0" * 32


def frame(body, more=False, command=False):
    flags = (1 if more else 0) | (4 if command else 0)
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | 2]) + struct.pack(">Q", len(body)) + body


def ready(socket_type=b"DEALER", identity=b""):
    body = b"\x05READY"
    for name, value in ((b"Socket-Type", socket_type), (b"Identity", identity)):
        body += bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
    return frame(body, command=True)


class Peer:
    """A DEALER that has shaken hands. Answers PINGs only while receive() is called."""

    def __init__(self, port, identity=b"", host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout=10)
        self.socket.sendall(greeting())
        self.read(64)
        self.socket.sendall(ready(identity=identity))
        self.read_frame()

    def read(self, size):
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise ConnectionError("closed")
            data += part
        return data

    def read_frame(self):
        flags = self.read(1)[0]
        size = struct.unpack(">Q", self.read(8))[0] if flags & 2 else self.read(1)[0]
        return flags, self.read(size)

    def send(self, body):
        """One message as a DEALER sends it."""
        self.socket.sendall(frame(body))

    def receive(self):
        """The next message's bytes; PINGs are answered on the way."""
        while True:
            flags, body = self.read_frame()
            if flags & 4 == 0:
                return body
            if body[:5] == b"\x04PING":
                self.socket.sendall(frame(b"\x04PONG" + body[7:], command=True))

    def close(self):
        self.socket.close()


# --- Protobuf

def varint(value):
    out = b""
    value &= (1 << 64) - 1
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def message(**fields):
    """f1=5 is a number in field 1, f2=b"" bytes, text or a message, a list is repeated."""
    out = b""
    for name, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            number = int(name[1:])
            if isinstance(value, int):
                out += varint(number << 3) + varint(value)
            else:
                value = value.encode() if isinstance(value, str) else value
                out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


# --- Frames of the data plane

BATCH, WATERMARK, END, HELLO, OPEN, CREDIT = 1, 2, 6, 16, 18, 19


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def job_tag(job, incarnation=1):
    """0 where the hash's library cannot be loaded: then frames are those of another job."""
    name = ctypes.util.find_library("xxhash")
    if not name:
        return 0
    hash64 = ctypes.CDLL(name).XXH3_64bits
    hash64.restype, hash64.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t]
    text = f"{job}:{incarnation}".encode()
    return hash64(text, len(text))


def data_frame(kind, payload=b"", job=0, channel=0, seq=0, attempt=1, version=1, magic=b"WFRM", length=None, crc=None):
    head = magic + struct.pack("<HHQQQII", version, kind, job, channel, seq, attempt,
                               len(payload) if length is None else length)
    check = crc32c(head + payload) if crc is None else crc
    return head + struct.pack("<II", check, 0) + payload + b"\0" * (-len(payload) % 8)
