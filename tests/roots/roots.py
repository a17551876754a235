"""Clean systems to build, install and run in: Debian and Ubuntu roots by debootstrap, kept in a cache outside of the checkout.

A pristine root is made once (network, a minute or two) and never written to; a test works in a copy of it. Commands run in namespaces of
their own (mounts, processes), so that nothing they leave survives them. Needs root and debootstrap.
WEIR_DEBIAN_MIRROR and WEIR_UBUNTU_MIRROR name other archives than debootstrap's own.
"""
import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "weir", "roots")
# name: (suite, variable of the mirror, debootstrap's script where it does not know the suite, components)
SYSTEMS = {
    "debian12": ("bookworm", "WEIR_DEBIAN_MIRROR", None, "main"),
    "debian13": ("trixie", "WEIR_DEBIAN_MIRROR", None, "main"),
    "ubuntu24.04": ("noble", "WEIR_UBUNTU_MIRROR", "gutsy", "main,universe"),
}
PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "WEIR_TEST_PATIENCE")


class Failed(Exception):
    """A root cannot be made, or a command in it failed; the text says what it printed last."""


def require():
    """Ends with a clear message where roots cannot be used."""
    if os.geteuid() != 0:
        sys.exit("needs root: it makes clean systems with debootstrap and runs commands in them (sudo -E make ...)")
    if not shutil.which("debootstrap"):
        sys.exit("needs debootstrap: scripts/deps.sh portable installs it")


def locked(name):
    """One user of a cached root at a time, also across checkouts. Keep what is returned."""
    os.makedirs(CACHE, exist_ok=True)
    lock = open(os.path.join(CACHE, f".{name}.lock"), "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def tail(text, lines=40):
    return "\n".join(text.splitlines()[-lines:])


def debootstrap(name, directory):
    suite, mirror_variable, script, components = SYSTEMS[name]
    mirror = os.environ.get(mirror_variable)
    if script:
        mirror = mirror or "" # the script's own
        script = f"/usr/share/debootstrap/scripts/{script}"
    keyring = ["--no-check-gpg"] if script and not os.path.exists("/usr/share/keyrings/ubuntu-archive-keyring.gpg") else []
    command = ["debootstrap", "--variant=minbase", f"--components={components}", *keyring, suite, directory]
    if mirror or script:
        command += [mirror, *([script] if script else [])]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}:\n{tail(done.stdout, 8)}")


def pristine(name):
    """Directory of a minimal system; made if it is not in the cache."""
    directory = os.path.join(CACHE, name)
    if not os.path.isdir(directory):
        part = directory + ".part"
        shutil.rmtree(part, ignore_errors=True)
        print(f"# making {directory}", flush=True)
        debootstrap(name, part)
        os.rename(part, directory)
    return directory


def copy(source, target):
    """With owners, modes, links and devices."""
    subprocess.run(["cp", "-a", "--reflink=auto", source, target], check=True)


def derived(name, suffix):
    """A copy of a pristine root that is kept and may be written to: what was installed in it is there the next time."""
    directory = os.path.join(CACHE, f"{name}-{suffix}")
    if not os.path.isdir(directory):
        part = directory + ".part"
        shutil.rmtree(part, ignore_errors=True)
        copy(pristine(name), part)
        os.rename(part, directory)
    return directory


def run(root, command, binds=(), env=None, timeout_s=1800, private_binfmt=False, check=True, user=None):
    """A shell command in a root; its output. `binds`: (directory here, path there), read-only. Ends with everything it started."""
    quoted = shlex.quote(root)
    setup = ["set -e", "mount --make-rprivate /", f"mount --rbind {quoted} {quoted}"]
    for source, target in binds:
        setup.append(f"mkdir -p {quoted}{target}; mount --rbind {shlex.quote(source)} {quoted}{target}; "
                     f"mount -o remount,bind,ro {quoted}{target} || true")
    archives = os.path.join(CACHE, "archives-" + os.path.basename(root).split("-")[0])
    os.makedirs(os.path.join(archives, "partial"), exist_ok=True)
    setup += [f"mount -t proc proc {quoted}/proc", f"mount --rbind /sys {quoted}/sys", f"mount --rbind /dev {quoted}/dev",
              f"mount --bind {shlex.quote(archives)} {quoted}/var/cache/apt/archives",
              f"cp /etc/resolv.conf {quoted}/etc/resolv.conf" if os.path.exists("/etc/resolv.conf") else ":",
              f"test -e {quoted}/etc/hosts || printf '127.0.0.1 localhost\\n::1 localhost\\n' > {quoted}/etc/hosts"]
    if private_binfmt:
        setup.append(f"mount -t binfmt_misc none {quoted}/proc/sys/fs/binfmt_misc")
    whole = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
             "DEBIAN_FRONTEND": "noninteractive", **{k: os.environ[k] for k in PASSED_ON if k in os.environ}, **(env or {})}
    pairs = " ".join(shlex.quote(f"{key}={value}") for key, value in whole.items())
    who = f"--userspec={user}:{user} " if user else ""
    setup.append(f"exec chroot {who}{quoted} /usr/bin/env -i {pairs} /bin/sh -c {shlex.quote(command)}")
    isolate = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", *(["--user"] if private_binfmt else [])]
    # A user namespace has interpreters of its own (Linux 6.7): the host's table stays as it is. Its root is root once it is mapped.
    script = ["sh", "-c", 'read _; exec sh -c "$0"', "\n".join(setup)]
    process = subprocess.Popen([*isolate, *script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if private_binfmt:
        map_users(process.pid)
    try:
        output, _ = process.communicate(b"go\n", timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        raise Failed(f"{command}: no end within {timeout_s} s\n{tail(output.decode(errors='replace'))}") from None
    output = output.decode(errors="replace")
    if check and process.returncode != 0:
        raise Failed(f"{command}: exit status {process.returncode}\n{tail(output)}")
    return output


def map_users(pid):
    """Every user of the new namespace is the same one here."""
    ours = os.readlink("/proc/self/ns/user")
    deadline = time.monotonic() + 10
    while os.readlink(f"/proc/{pid}/ns/user") == ours:
        if time.monotonic() > deadline:
            raise Failed("no user namespace can be made here")
        time.sleep(0.01)
    for table in ("gid_map", "uid_map"):
        with open(f"/proc/{pid}/{table}", "w") as file:
            file.write("0 0 65536\n")


def clean(name, suffix):
    """A fresh copy of a pristine root, for one test; remove() it."""
    directory = os.path.join(CACHE, f"{name}-{suffix}")
    remove(directory)
    copy(pristine(name), directory)
    return directory


def remove(directory):
    """One that this kit made; refuses anything else."""
    assert os.path.dirname(os.path.abspath(directory)) == CACHE, directory
    shutil.rmtree(directory, ignore_errors=True)


def install_packages(root, packages):
    """By apt, those that are missing."""
    run(root, f"""missing=; for p in {packages}; do
        dpkg-query -W -f='${{db:Status-Status}}' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"; done
        [ -z "$missing" ] || {{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; }}""")


def copy_tree(target):
    """The checkout's files as they are now: tracked ones and new ones, nothing that git ignores."""
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    listed = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "ls-files", "-z", "-co", "--exclude-standard"],
                            stdout=subprocess.PIPE, check=True)
    pack = subprocess.Popen(["tar", "-C", ROOT, "--null", "-T", "-", "--ignore-failed-read", "-cf", "-"], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    unpack = subprocess.Popen(["tar", "-C", target, "-xf", "-", "--no-same-owner"], stdin=pack.stdout)
    pack.stdin.write(listed.stdout)
    pack.stdin.close()
    if unpack.wait() != 0:
        raise Failed("cannot copy the tree")
    pack.wait()


class Tap:
    """Counts as tests/run.py does, and says so."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def ok(self, name):
        self.passed += 1
        print(f"ok {self.passed + self.failed + self.skipped} - {name}", flush=True)

    def fail(self, name, why):
        self.failed += 1
        print(f"not ok {self.passed + self.failed + self.skipped} - {name}", flush=True)
        print("\n".join("# " + line for line in str(why).splitlines()), flush=True)

    def skip(self, name, why):
        self.skipped += 1
        print(f"ok {self.passed + self.failed + self.skipped} - {name} # SKIP {why}", flush=True)

    def step(self, name, function, *arguments):
        """True if it went well; what it returns is shown behind its name."""
        try:
            more = function(*arguments)
        except (Failed, AssertionError, subprocess.CalledProcessError) as why:
            self.fail(name, why)
            return False
        self.ok(f"{name}{f' ({more})' if more else ''}")
        return True

    def end(self):
        print(f"1..{self.passed + self.failed + self.skipped}")
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        sys.exit(1 if self.failed else 0)
