"""The block of shared memory by which faults.c is told what to fail, and tells what it counted: see faults.h."""
import errno
import mmap
import os
import struct

KINDS = ("alloc open read write stdio sync close rename unlink mkdir stat truncate send recv socket connect bind accept "
         "mmap thread epoll poll event pipe spawn wait").split()
SHORT = 10001
# (kind, errno or SHORT, nothing is lost): as in common_torture.c.
WAYS = [(kind, SHORT if name == "short" else getattr(errno, name), name, soft) for kind, names, soft in (
    ("alloc", "ENOMEM", False), ("open", "EMFILE EACCES", False), ("read", "EIO", False), ("read", "short", True),
    ("write", "ENOSPC", False), ("write", "short", True), ("stdio", "ENOSPC", False), ("sync", "EIO", False),
    ("close", "EIO", False), ("rename", "EIO", False), ("unlink", "EACCES", False), ("mkdir", "ENOSPC", False),
    ("stat", "EIO", False), ("truncate", "ENOSPC", False), ("send", "EPIPE", False), ("send", "EINTR EAGAIN short", True),
    ("recv", "ECONNRESET", False), ("recv", "EINTR EAGAIN short", True), ("socket", "EMFILE", False),
    ("connect", "ECONNREFUSED", False), ("bind", "EADDRINUSE", False), ("accept", "EMFILE ECONNABORTED", False),
    ("mmap", "ENOMEM", False), ("thread", "EAGAIN", False), ("epoll", "ENOSPC", False), ("poll", "EINTR", True),
    ("event", "EMFILE", False), ("pipe", "EMFILE", False), ("spawn", "EAGAIN", False), ("wait", "EINTR", True))
    for name in names.split()]
TEXTS = 256 + 1024 + 1024
NUMBERS = struct.Struct("<7Q32Q")


class Block:
    """The file DIRECTORY/ROLE, mapped."""

    def __init__(self, directory, role, kind=None, error=0, nth=0, onward=False, below=""):
        self.path = os.path.join(directory, role)
        numbers = [0] * 39
        if kind:
            numbers[:5] = [1, KINDS.index(kind), nth, int(onward), error]
        with open(self.path, "wb") as file:
            file.write(below.encode().ljust(256, b"\0") + bytes(2048) + NUMBERS.pack(*numbers))
        self.file = open(self.path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), TEXTS + NUMBERS.size)

    def disarm(self):
        """What has gone wrong from the n-th call on is in order again."""
        self.map[TEXTS:TEXTS + 8] = bytes(8)

    def close(self):
        self.map.close()
        self.file.close()

    def _text(self, at):
        return self.map[at:at + 1024].split(b"\0")[0].decode(errors="replace")

    def where(self):
        return self._text(256)

    def crash(self):
        return self._text(1280)

    def hits(self):
        return NUMBERS.unpack_from(self.map, TEXTS)[5]

    def counts(self):
        return dict(zip(KINDS, NUMBERS.unpack_from(self.map, TEXTS)[7:]))


def is_foreign(frames):
    """A library's own end: between the crash and the first frame of ours there is one of another library than libc."""
    for frame in frames.split()[1:]:  # the first is the handler
        module = frame.rsplit("+", 1)[0]
        if module.startswith(("weir", "libweir")) or module.endswith(".so"):
            return False
        if module.startswith("lib") and not module.startswith("libc.so"):
            return True
    return False
