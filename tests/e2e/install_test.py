#!/usr/bin/env python3
"""make install and uninstall, the library's symbols, pkg-config, and what daemons say to a service manager."""
import contextlib
import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

from docs_test import blocks_of_readme
from weir_test import BUILD, PATIENCE, ROOT, look_for_reports, main, run, wait_for

VERSION = open(os.path.join(ROOT, "VERSION")).read().strip()
PROGRAMS = ("weir", "weir-jobmanager", "weir-taskmanager")
LIBRARY = os.path.join(BUILD, "lib", "libweir.so")


@contextlib.contextmanager
def directory():
    path = tempfile.mkdtemp(prefix="weir-e2e-install-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def sanitizers():
    """Those that the build was made with: what make links anew needs them, too."""
    symbols = run("nm", "-D", LIBRARY).stdout
    return "address,undefined" if "__asan_init" in symbols else "thread" if "__tsan_init" in symbols else ""


def make(target, **variables):
    """As a user types it, whatever make runs this test."""
    variables["SAN"] = sanitizers()
    env = {name: "" for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return run("make", "-s", "-C", ROOT, target, f"BUILD={os.path.relpath(BUILD, ROOT)}",
               *(f"{name}={value}" for name, value in variables.items()), env=env, timeout_s=300)


def tree(path):
    """Every name below a directory with its kind, mode, and content or target."""
    found = {}
    for folder, names, files in os.walk(path):
        for name in names + files:
            full = os.path.join(folder, name)
            what = os.readlink(full) if os.path.islink(full) else open(full, "rb").read() if os.path.isfile(full) else "/"
            found[os.path.relpath(full, path)] = (os.lstat(full).st_mode, what)
    return found


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def dynamic_symbols(path):
    """{name: version} of what an object defines for others."""
    lines = run("readelf", "--dyn-syms", "-W", path).stdout.splitlines()
    rows = [line.split() for line in lines if re.match(r"\s*\d+: [0-9a-f]+ ", line)]
    rows = [row for row in rows if len(row) == 8 and row[6] != "UND" and row[4] != "LOCAL"]
    assert rows, f"{path} shows nothing"
    return {row[7].split("@")[0]: row[7].split("@")[-1] for row in rows}


def test_only_weir_symbols_are_shown():
    for path in (LIBRARY, *(os.path.join(BUILD, "bin", name) for name in PROGRAMS)):
        others = [name for name in dynamic_symbols(path) if not name.startswith("weir_")]
        assert not others, f"{path} shows {others}"
    dynamic = run("readelf", "-d", LIBRARY).stdout
    soname = "libweir.so." + VERSION.split(".")[0]
    assert f"[{soname}]" in dynamic, dynamic
    assert os.readlink(os.path.join(BUILD, "lib", soname)) == f"libweir.so.{VERSION}"


def declared_by(header, first):
    """Functions that a header declares: what is left of it without bodies of structs and functions. `first`: where its own text begins."""
    done = run("cc", "-E", "-P", "-I", os.path.join(ROOT, "include"), header)
    assert done.returncode == 0, done.stderr
    text = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", done.stdout[done.stdout.index(first):])
    text = re.sub(r"static inline [^{]*\{[^}]*\}", "", text)
    while "{" in text:
        text = re.sub(r"\{[^{}]*\}", "", text)
    return {name for statement in text.split(";") if "typedef" not in statement
            for name in re.findall(r"\b(weir_\w+)\s*\(", statement)}


def test_the_testing_library_shows_its_header_and_no_more():
    declared = declared_by(os.path.join(ROOT, "include", "weir", "testing.h"), "struct weir_test;")
    shown = set(dynamic_symbols(os.path.join(BUILD, "lib", "libweir-testing.so")))
    assert declared == shown, declared ^ shown


def test_public_symbols_are_those_of_the_headers():
    """What the headers in include/weir declare stands in a weir_1.n node of mk/libweir.map.in, everything else in the private one."""
    header = os.path.join(ROOT, "include", "weir", "weir.h")
    declared = declared_by(header, "struct weir_str {")
    declared |= declared_by(os.path.join(ROOT, "include", "weir", "connector.h"), "enum weir_err_code")
    assert len(declared) > 25, declared
    symbols = dynamic_symbols(LIBRARY)
    public = {name for name, version in symbols.items() if re.fullmatch(r"weir_\d+\.\d+", version) and name != version}
    assert declared == public, \
        f"only in the headers (add to a node of mk/libweir.map.in): {declared - public}; only in the library: {public - declared}"
    newest = max(tuple(int(part) for part in v[5:].split(".")) for v in symbols.values() if re.fullmatch(r"weir_\d+\.\d+", v))
    abi = tuple(int(re.search(rf"WEIR_ABI_{part} (\d+)", open(header).read())[1]) for part in ("MAJOR", "MINOR"))
    assert newest <= abi, f"the map has a node {newest}, the header says ABI {abi}"
    assert {v for n, v in symbols.items() if n not in public and n != v} == {f"weir_private_{VERSION}"}


def test_uninstall_leaves_the_tree_as_it_was():
    with directory() as root:
        write(f"{root}/usr/local/bin/other", "somebody else's\n")
        write(f"{root}/usr/local/share/man/man1/other.1", "page\n")
        before = tree(root)
        for _ in range(2): # installing again changes nothing
            done = make("install", PREFIX="/usr/local", DESTDIR=root)
            assert done.returncode == 0, done.stderr
        installed = tree(root)
        for path in ("usr/local/bin/weir", "usr/local/bin/weir-jobmanager", "usr/local/bin/weir-taskmanager",
                     "usr/local/include/weir/weir.h", "usr/local/lib/pkgconfig/weir.pc", f"usr/local/lib/libweir.so.{VERSION}",
                     "usr/local/lib/libweir.so", "usr/local/lib/systemd/system/weir-jobmanager.service",
                     "usr/local/lib/systemd/system/weir-taskmanager.service", "usr/local/share/man/man1/weir.1",
                     "etc/weir/weir.yaml", "usr/local/share/doc/weir/examples/gpu-temperature/job.c"):
            assert path in installed, path
        headers = {os.path.basename(path) for path in installed if "/include/" in path and path.endswith(".h")}
        assert headers == {name for name in os.listdir(os.path.join(ROOT, "include", "weir")) if name.endswith(".h")}, headers
        assert not [path for path, (_, what) in installed.items() if isinstance(what, bytes) and root.encode() in what]
        done = make("uninstall", PREFIX="/usr/local", DESTDIR=root)
        assert done.returncode == 0, done.stderr
        assert tree(root) == before, sorted(tree(root).keys() ^ before.keys())
        done = make("uninstall", PREFIX="/usr/local", DESTDIR=root)
        assert done.returncode == 0 and "not installed" in done.stdout, done.stdout + done.stderr


def test_an_edited_configuration_stays_and_old_files_go():
    with directory() as root:
        assert make("install", PREFIX="/opt/weir", DESTDIR=root).returncode == 0
        configuration, record = f"{root}/opt/weir/etc/weir/weir.yaml", f"{root}/opt/weir/share/weir/installed"
        unit = open(f"{root}/opt/weir/lib/systemd/system/weir-taskmanager.service").read()
        assert "ExecStart=/opt/weir/bin/weir-taskmanager --config /opt/weir/etc/weir/weir.yaml\n" in unit
        write(configuration, "parallelism.default: 3\n")
        write(f"{root}/opt/weir/share/weir/old-file", "of an earlier version\n")
        with open(record, "a") as file:
            file.write("/opt/weir/share/weir/old-file\t\n")
        done = make("install", PREFIX="/opt/weir", DESTDIR=root)
        assert done.returncode == 0 and "kept" in done.stdout, done.stdout + done.stderr
        assert not os.path.exists(f"{root}/opt/weir/share/weir/old-file")
        done = make("uninstall", PREFIX="/opt/weir", DESTDIR=root)
        assert done.returncode == 0 and "kept" in done.stdout, done.stdout + done.stderr
        assert open(configuration).read() == "parallelism.default: 3\n"
        assert sorted(tree(root)) == ["opt", "opt/weir", "opt/weir/etc", "opt/weir/etc/weir", "opt/weir/etc/weir/weir.yaml"]


def test_mistaken_places_are_refused():
    done = make("install", PREFIX="usr/local")
    assert done.returncode != 0 and "absolute path" in done.stderr, done.stderr
    with directory() as root:
        write(f"{root}/usr", "no directory\n")
        done = make("install", PREFIX="/usr", DESTDIR=root)
        assert done.returncode != 0 and "cannot write" in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert sorted(tree(root)) == ["usr"]


def test_an_installed_tree_works_after_it_was_moved():
    """The README's job against headers, library and programs of an installation that lies elsewhere than where it was put."""
    code, = blocks_of_readme("c")
    with directory() as root:
        done = make("install", PREFIX=f"{root}/first", SYSCONFDIR=f"{root}/first/etc")
        assert done.returncode == 0, done.stderr
        os.rename(f"{root}/first", f"{root}/moved")
        write(f"{root}/hello.c", code)
        env = {"PATH": f"{root}/moved/bin:{os.environ['PATH']}", "PKG_CONFIG_PATH": f"{root}/moved/lib/pkgconfig",
               "WEIR_HOME": f"{root}/home", "LD_LIBRARY_PATH": ""}
        flags = run("pkg-config", "--cflags", "--libs", "weir", env=env).stdout
        assert BUILD not in flags and f"{root}/first" not in flags and f"{root}/moved" in flags, flags
        assert run("pkg-config", "--modversion", "weir", env=env).stdout.strip() == VERSION
        script = "cc -shared -fPIC hello.c -o hello.so $(pkg-config --cflags --libs weir) && weir run --local hello.so"
        done = run("sh", "-c", script, cwd=root, env=env)
        assert done.returncode == 0 and "+I[" in done.stdout, done.stdout + done.stderr
        libraries = run("ldd", f"{root}/moved/bin/weir").stdout
        assert re.search(rf"libweir.so.0 => {root}/moved/\S*lib/libweir.so.0", libraries), libraries
        assert f"weir {VERSION}" in run(f"{root}/moved/bin/weir", "--version").stdout
        page = open(f"{root}/moved/share/man/man1/weir.1").read()
        for command in ("run", "cancel", "cluster"):
            assert f".SS weir {command}\n" in page, page


def test_a_library_elsewhere_is_left_to_the_linker():
    """LIBDIR other than PREFIX/lib: programs without a search path of their own, pkg-config that finds it."""
    with directory() as root:
        done = make("install", PREFIX="/usr", LIBDIR="/usr/lib/any-linux-gnu", DESTDIR=root)
        assert done.returncode == 0, done.stderr
        for name in PROGRAMS:
            dynamic = run("readelf", "-d", f"{root}/usr/bin/{name}").stdout
            assert "PATH" not in dynamic, dynamic
        flags = run("pkg-config", "--libs", "weir", env={"PKG_CONFIG_PATH": f"{root}/usr/lib/any-linux-gnu/pkgconfig"}).stdout
        folder = re.search(r"-L(\S+)", flags)[1]
        assert os.path.exists(os.path.join(folder, "libweir.so")), flags


# --- What a service manager is told

def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout=30 * PATIENCE)
    finally:
        process.kill()


def start(program, root, notify, *more):
    env = dict(os.environ, WEIR_HOME=f"{root}/home", NOTIFY_SOCKET=notify, LOGS_DIRECTORY=f"{root}/log:{root}/other",
               RUNTIME_DIRECTORY=f"{root}/run")
    with open(f"{root}/{program}.err", "w") as errors:
        return subprocess.Popen([os.path.join(BUILD, "bin", program), *more], env=env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=errors)


def notified(root, address, notify):
    """The daemons of a cluster with a service manager that listens at `address`; yields what they said."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(30 * PATIENCE)
        processes = []
        try:
            processes.append(start("weir-jobmanager", root, notify, "-D", "rest.port=0", "-D", "jobmanager.rpc.port=0"))
            yield manager.recv(4096).decode()
            ready = wait_for("the JobManager's file", lambda: os.path.exists(f"{root}/run/jobmanager.json"))
            assert ready
            port = re.search(r'"rpc_port": (\d+)', open(f"{root}/run/jobmanager.json").read())[1]
            processes.append(start("weir-taskmanager", root, notify, "-D", f"jobmanager.rpc.port={port}"))
            yield manager.recv(4096).decode()
            yield manager.recv(4096).decode()
        finally:
            codes = [stop(process) for process in reversed(processes)]
            for path in glob.glob(f"{root}/*.err"):
                look_for_reports(path, open(path).read())
        assert codes == [0, 0], codes


def test_daemons_tell_systemd_when_they_are_ready():
    for abstract in (False, True):
        with directory() as root:
            path = f"{root}/notify"
            told = list(notified(root, "\0" + path if abstract else path, "@" + path if abstract else path))
            assert told[0].startswith("READY=1\n") and told[1].startswith("READY=1\n"), told
            assert "STATUS=registered" in told[2] and "READY" not in told[2], told
            assert not os.path.exists(f"{root}/home/logs") and not os.path.exists(f"{root}/home/run")
            assert os.path.isdir(f"{root}/log") and not os.path.exists(f"{root}/other")


def test_a_notify_socket_that_is_wrong_does_no_harm():
    for notify in ("relative", "/nowhere/socket", "/" + 200 * "x"):
        with directory() as root:
            process = start("weir-jobmanager", root, notify, "-D", "rest.port=0", "-D", "jobmanager.rpc.port=0")
            try:
                wait_for("the JobManager's file", lambda: os.path.exists(f"{root}/run/jobmanager.json"))
            finally:
                code = stop(process)
            assert code == 0, code


if __name__ == "__main__":
    main(globals())
