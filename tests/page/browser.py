"""A headless chromium by its DevTools protocol: one tab, expressions evaluated in it, dialogs answered."""
import base64
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import urllib.parse
import urllib.request


class Browser:
    """with Browser(url) as page: page.value("document.title")"""

    def __init__(self, url):
        self.url, self.profile, self.number, self.answers, self.dialogs = url, tempfile.mkdtemp(prefix="weir-page-"), 0, [], []

    def __enter__(self):
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        assert program, "no chromium: scripts/deps.sh page installs it"
        self.process = subprocess.Popen([program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                                         "--remote-debugging-port=0", f"--user-data-dir={self.profile}", self.url],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
        for line in self.process.stderr:
            found = re.search(r"ws://(127\.0\.0\.1:\d+)/", line)
            if found:
                break
        else:
            raise AssertionError("chromium did not start")
        with urllib.request.urlopen(f"http://{found[1]}/json", timeout=30) as reply:
            tab = next(t for t in json.load(reply) if t["type"] == "page")
        self.connect(urllib.parse.urlsplit(tab["webSocketDebuggerUrl"]))
        self.call("Page.enable")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    # --- WebSocket, as far as it is needed: whole messages of text

    def connect(self, url):
        self.socket = socket.create_connection((url.hostname, url.port), timeout=120)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        self.stream = self.socket.makefile("rb")
        while self.stream.readline() not in (b"\r\n", b""):
            pass

    def send(self, text):
        data, mask = text.encode(), os.urandom(4)
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
        self.socket.sendall(b"\x81" + size + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))

    def receive(self):
        message = b""
        while True:
            first, size = self.stream.read(2)
            size &= 0x7F
            if size > 125:
                size, = struct.unpack(">H" if size == 126 else ">Q", self.stream.read(2 if size == 126 else 8))
            message += self.stream.read(size)
            if first & 0x80:
                return json.loads(message)

    # --- DevTools

    def post(self, method, **parameters):
        self.number += 1
        self.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        return self.number

    def call(self, method, **parameters):
        number = self.post(method, **parameters)
        while True:
            message = self.receive()
            if message.get("method") == "Page.javascriptDialogOpening":
                self.dialogs.append(message["params"]["message"])
                answer = self.answers.pop(0)
                self.post("Page.handleJavaScriptDialog", accept=answer is not None, promptText=answer if isinstance(answer, str) else "")
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def click(self, name, *answers):
        """`answers`: to the dialogs that it opens: True, a text, or None to dismiss."""
        self.answers += answers
        self.value(f"document.getElementById('{name}').click()")
        assert not self.answers, f"{name} asked {len(self.answers)} questions less than expected"
