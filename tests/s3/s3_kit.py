"""What tests need of S3: a server over a directory of its own (versitygw; with WEIR_TEST_S3_SERVER=minio the second opinion), and a proxy in
front of it that makes trouble."""
import hashlib
import hmac
import http.server
import os
import shutil
import socket
import socketserver
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from weir_test import ROOT, free_port, run  # noqa: E402

KIND = os.environ.get("WEIR_TEST_S3_SERVER", "versitygw")
SERVER = os.path.join(ROOT, "scripts", "s3", KIND + ".sh")
KEYS = {"AWS_ACCESS_KEY_ID": "testak", "AWS_SECRET_ACCESS_KEY": "testsecret123", "AWS_EC2_METADATA_DISABLED": "true"}


class S3:
    def __init__(self, *certificate):
        self.directory = tempfile.mkdtemp(prefix="weir-s3-")
        os.mkdir(os.path.join(self.directory, "data"))
        os.mkdir(os.path.join(self.directory, "data", "weir-test"))
        self.port = free_port()
        self.certificate = certificate

    def __enter__(self):
        done = run(SERVER, "up", self.port, os.path.join(self.directory, "data"), *self.certificate, timeout_s=3000)
        assert done.returncode == 0, done.stderr
        self.endpoint = done.stdout.strip()
        return self

    def bucket(self, name="weir-test"):
        """Where its objects lie, a file each: where versitygw keeps them, or where refresh() puts them."""
        return os.path.join(self.directory, "data" if KIND == "versitygw" else "copy", name)

    def refresh(self, name="weir-test"):
        """Copies all objects, of a server that does not keep them as files."""
        if KIND == "versitygw":
            return
        shutil.rmtree(self.bucket(name), ignore_errors=True)
        after = None
        while after != "":
            listing = xml.etree.ElementTree.fromstring(self.get(f"/{name}", **{"list-type": "2", "encoding-type": "url"}, **({"continuation-token": after} if after else {})))
            space = listing.tag[:listing.tag.index("}") + 1]
            for key in (urllib.parse.unquote_plus(entry.find(space + "Key").text) for entry in listing.iter(space + "Contents")):
                try:
                    data = self.get(f"/{name}/{key}")
                except urllib.error.HTTPError: # it is gone
                    continue
                path = os.path.join(self.bucket(name), key)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as file:
                    file.write(data)
            after = listing.findtext(space + "NextContinuationToken") or ""

    def get(self, path, **query):
        """A signed GET."""
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope, host, empty = f"{now[:8]}/us-east-1/s3/aws4_request", self.endpoint.split("//")[1], hashlib.sha256(b"").hexdigest()
        path = urllib.parse.quote(path)
        question = "&".join(f"{urllib.parse.quote(k, safe='')}={urllib.parse.quote(v, safe='')}" for k, v in sorted(query.items()))
        names = "host;x-amz-content-sha256;x-amz-date"
        canonical = f"GET\n{path}\n{question}\nhost:{host}\nx-amz-content-sha256:{empty}\nx-amz-date:{now}\n\n{names}\n{empty}"
        key = ("AWS4" + KEYS["AWS_SECRET_ACCESS_KEY"]).encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), "sha256").digest()
        signature = hmac.new(key, f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}".encode(), "sha256").hexdigest()
        request = urllib.request.Request(f"{self.endpoint}{path}?{question}", headers={
            "x-amz-date": now, "x-amz-content-sha256": empty,
            "Authorization": f"AWS4-HMAC-SHA256 Credential={KEYS['AWS_ACCESS_KEY_ID']}/{scope}, SignedHeaders={names}, Signature={signature}"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.read()

    def __exit__(self, kind, *_):
        run(SERVER, "down", os.path.join(self.directory, "data"))
        keep = os.environ.get("WEIR_TEST_KEEP", "")
        if kind and "/" in keep:
            print("# objects kept in", shutil.move(self.directory, keep))
        else:
            run("rm", "-rf", self.directory)


class Proxy(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """In front of a server; trouble(method, path) says what happens to a request: None, a status, "drop" (before it is passed on), "lose" (the
    reply, after it was), "slow", "cut" (in the middle of its body). answered(method, path, status) hears what the server said, on the request's own thread.
    hashes: (method, x-amz-content-sha256) of what had a body."""
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, target, trouble, answered=lambda *_: None):
        self.target, self.trouble, self.answered, self.counts = target, trouble, answered, {}
        self.hashes = set()
        super().__init__(("127.0.0.1", 0), Relay)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        pass


class Relay(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def cut(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def relay(self):
        what, size = self.server.trouble(self.command, self.path), int(self.headers.get("Content-Length") or 0)
        if what:
            self.server.counts[what] = self.server.counts.get(what, 0) + 1
        body = self.rfile.read(size // 2 if what == "cut" else size)
        if body:
            self.server.hashes.add((self.command, self.headers["x-amz-content-sha256"]))
        if what in ("drop", "cut"):
            return self.cut()
        if what == "slow":
            time.sleep(0.3)
        if isinstance(what, int):
            code = {503: "SlowDown", 500: "InternalError"}.get(what, "Error")
            text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by the proxy</Message></Error>".encode()
            self.send_response(what)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            return None if self.command == "HEAD" else self.wfile.write(text)
        request = urllib.request.Request(self.server.target + self.path, data=body or None, method=self.command)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "content-length"):
                request.add_unredirected_header(name, value)
        try:
            reply = urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            reply = error
        text = reply.read()
        self.server.answered(self.command, self.path, reply.status)
        if what == "lose":
            return self.cut()
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", reply.headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = relay
