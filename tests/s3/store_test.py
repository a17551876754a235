#!/usr/bin/env python3
"""common/store over S3: the suite of tests/unit/store_test.c against versitygw, over TLS too, and behind a proxy that makes trouble."""
import http.server
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from s3_kit import KEYS, S3, Proxy  # noqa: E402
from weir_test import BUILD, PATIENCE, main, run  # noqa: E402

SUITE = os.path.join(BUILD, "tests", "unit", "store_test")


def suite(endpoint, **env):
    done = run(SUITE, env={**KEYS, "WEIR_TEST_S3": endpoint, "CMOCKA_MESSAGE_OUTPUT": "TAP", **env}, timeout_s=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_the_suite():
    with S3() as s3:
        suite(s3.endpoint)
        left = [os.path.join(path, name) for path, _, names in os.walk(os.path.join(s3.bucket(), ".sgwtmp")) for name in names]
        assert not left, f"parts of uploads that nobody ends: {left[:5]}"


def test_virtual_host_style():
    with S3() as s3:
        suite(s3.endpoint.replace("127.0.0.1", "s3.localhost"), WEIR_S3_PATH_STYLE_ACCESS="false")


def test_tls_with_a_private_authority():
    with tempfile.TemporaryDirectory() as directory:
        certificate, key = os.path.join(directory, "c.pem"), os.path.join(directory, "k.pem")
        made = run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
                   "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate)
        assert made.returncode == 0, made.stderr
        with S3(certificate, key) as s3:
            suite(s3.endpoint, WEIR_S3_CA_FILE=certificate)
            done = run(SUITE, env={**KEYS, "WEIR_TEST_S3": s3.endpoint, "WEIR_S3_ATTEMPTS": "1"}, timeout_s=300)
            assert done.returncode != 0 and "certificate" in done.stdout + done.stderr, done.stderr[-2000:]


def test_bodies_are_signed_where_others_could_change_them():
    """Not on the way to this host itself; 0.0.0.0 is that, too, but does not say so."""
    for host, signed in (("localhost", False), ("0.0.0.0", True)):
        with S3() as s3:
            proxy = Proxy(s3.endpoint, lambda *_: None)
            suite(proxy.endpoint.replace("127.0.0.1", host), WEIR_S3_PATH_STYLE_ACCESS="true")
            hashes = [value for method, value in proxy.hashes if method == "PUT"]
            assert hashes and all((value == "UNSIGNED-PAYLOAD") != signed for value in hashes), (host, hashes[:3])
            proxy.shutdown()


def test_trouble_that_passes():
    """One request of four is refused, cut before or after, or slow; what is not conditional is repeated, nobody sees it."""
    chance = random.Random(7)

    def trouble(method, path):
        return chance.choice([503, 500, "drop", "lose", "slow"]) if chance.random() < 0.25 else None

    with S3() as s3:
        proxy = Proxy(s3.endpoint, trouble)
        suite(proxy.endpoint, WEIR_TEST_S3_TROUBLE="1", WEIR_S3_ATTEMPTS="30")
        assert set(proxy.counts) == {503, 500, "drop", "lose", "slow"}, proxy.counts
        proxy.shutdown()


def test_a_server_that_only_refuses():
    """Bounded, and in words."""
    with S3() as s3:
        proxy = Proxy(s3.endpoint, lambda method, path: 503)
        start = time.monotonic()
        done = run(SUITE, env={**KEYS, "WEIR_TEST_S3": proxy.endpoint, "WEIR_S3_ATTEMPTS": "3"}, timeout_s=300)
        assert done.returncode != 0 and "503 SlowDown" in done.stdout + done.stderr
        assert time.monotonic() - start < 120 * PATIENCE
        proxy.shutdown()


def test_no_credentials():
    with S3() as s3, tempfile.TemporaryDirectory() as home:
        env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        env.update(HOME=home, WEIR_TEST_S3=s3.endpoint, AWS_EC2_METADATA_DISABLED="true")
        done = subprocess.run([SUITE], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        assert done.returncode != 0 and "no credentials for S3 were found" in done.stdout, done.stdout[-2000:]


def test_credentials_from_everywhere_else():
    """The file, a web identity, a container, an instance: each gives the server's real keys."""
    answer = {"AccessKeyId": "testak", "SecretAccessKey": "testsecret123", "Token": "", "Expiration": "2099-01-01T00:00:00Z"}
    seen = []

    class Metadata(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def reply(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            seen.append((self.command, self.path, body, dict(self.headers)))
            text = json.dumps(answer)
            if self.path == "/latest/api/token":
                text = "metadata-token"
            elif self.path.endswith("/security-credentials/"):
                text = "role-name"
            elif self.path == "/sts":
                text = ("<R xmlns='x'><Credentials><AccessKeyId>testak</AccessKeyId><SecretAccessKey>testsecret123</SecretAccessKey>"
                        "<SessionToken></SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></R>")
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_PUT = do_POST = reply

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    with S3() as s3, tempfile.TemporaryDirectory() as home:
        os.mkdir(os.path.join(home, ".aws"))
        with open(os.path.join(home, "token"), "w") as file:
            file.write("identity-token\n")
        with open(os.path.join(home, "credentials"), "w") as file:
            file.write("[other]\naws_access_key_id = x\n\n[mine]\n# the real ones\naws_access_key_id=testak\naws_secret_access_key = testsecret123\n")
        ways = [
            {"AWS_SHARED_CREDENTIALS_FILE": os.path.join(home, "credentials"), "AWS_PROFILE": "mine"},
            {"AWS_WEB_IDENTITY_TOKEN_FILE": os.path.join(home, "token"), "AWS_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_ENDPOINT_URL_STS": base + "/sts"},
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": base + "/container", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "container-token"},
            {"AWS_EC2_METADATA_SERVICE_ENDPOINT": base},
        ]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        for way in ways:
            env = {**clean, "HOME": home, "WEIR_TEST_S3": s3.endpoint, **way}
            done = subprocess.run([SUITE, "small"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
            assert done.returncode == 0, f"{way}: {done.stdout[-2000:]}"
    sts = [s for s in seen if s[1] == "/sts"]
    assert sts and "WebIdentityToken=identity-token" in sts[0][2] and "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr" in sts[0][2], sts
    assert any(s[1] == "/container" and s[3].get("Authorization") == "container-token" for s in seen), seen
    assert any(s[1].endswith("/role-name") and s[3].get("X-aws-ec2-metadata-token") == "metadata-token" for s in seen), seen
    server.shutdown()


if __name__ == "__main__":
    main(globals())
