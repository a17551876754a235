#!/usr/bin/env python3
"""make package: the .deb files and the relocatable tar.gz, looked at from outside. tests/roots installs them in clean systems."""
import glob
import hashlib
import os
import re
import shutil
import subprocess

from install_test import PROGRAMS, VERSION, directory, make, tree
from docs_test import blocks_of_readme
from weir_test import BUILD, ROOT, main, run

OUT = os.path.join(BUILD, "package")
made = None


def package(kind):
    """Path of a package; all of them are made once."""
    global made
    made = made or make("package")
    assert made.returncode == 0, made.stderr
    path, = glob.glob(os.path.join(OUT, kind))
    return path


def control(path):
    text = run("dpkg-deb", "-f", path).stdout
    return dict(re.findall(r"^(\S+): (.*)$", text, re.M))


def unpacked(path, root):
    """A .deb: its files, and its control files in DEBIAN/."""
    done = run("dpkg-deb", "-R", path, root)
    assert done.returncode == 0, done.stderr
    return tree(root)


def test_debs_hold_what_belongs_to_them():
    with directory() as root:
        files = unpacked(package("weir_*.deb"), f"{root}/weir")
        dev = unpacked(package("libweir-dev_*.deb"), f"{root}/dev")
        for name in PROGRAMS:
            assert f"usr/bin/{name}" in files and f"usr/share/man/man1/{name}.1.gz" in files
            assert "PATH" not in run("readelf", "-d", f"{root}/weir/usr/bin/{name}").stdout
        assert not [path for path in files if path.startswith("usr/include") or path.endswith((".so", ".pc"))]
        library, = [path for path in files if path.endswith(f"libweir.so.{VERSION}")]
        assert files[os.path.join(os.path.dirname(library), "libweir.so.0")][1] == f"libweir.so.{VERSION}"
        link = os.path.join(os.path.dirname(library), "libweir.so")
        assert dev[link][1] == "libweir.so.0" and "usr/include/weir/weir.h" in dev
        assert "prefix=/usr\n" in dev[os.path.join(os.path.dirname(library), "pkgconfig/weir.pc")][1].decode()
        assert not {path for path in files.keys() & dev.keys() if files[path][1] != "/" and not path.startswith("DEBIAN")}
        for unit in ("weir-jobmanager", "weir-taskmanager"):
            text = files[f"usr/lib/systemd/system/{unit}.service"][1].decode()
            assert f"\nExecStart=/usr/bin/{unit}\n" in text and "\nUser=weir\n" in text and "@" not in re.sub("@system-service", "", text)
        assert files["DEBIAN/conffiles"][1] == b"/etc/weir/weir.yaml\n"
        every = [content for _, content in [*files.values(), *dev.values()] if isinstance(content, bytes)]
        assert not [c for c in every if ROOT.encode() in c], "a path of the machine it was built on"
        for prefix, listed in ((f"{root}/weir", files), (f"{root}/dev", dev)):
            sums = dict(reversed(line.split("  ")) for line in listed["DEBIAN/md5sums"][1].decode().splitlines())
            regular = {p for p, (_, c) in listed.items() if c != "/" and isinstance(c, bytes) and not p.startswith("DEBIAN")}
            assert sums.keys() == regular, sums.keys() ^ regular
            assert all(hashlib.md5(open(os.path.join(prefix, p), "rb").read()).hexdigest() == s for p, s in sums.items())


def test_debs_name_what_they_need():
    weir, dev = control(package("weir_*.deb")), control(package("libweir-dev_*.deb"))
    assert weir["Package"] == "weir" and weir["Version"] == VERSION and dev["Version"] == VERSION
    for library in ("libzmq5", "libcurl", "libmicrohttpd", "libsimdjson", "libc6", "adduser"):
        assert re.search(rf"(^|, ){library}", weir["Depends"]), weir["Depends"]
    assert "libweir" not in weir["Depends"] and dev["Depends"] == f"weir (= {VERSION})"
    for path in (package("weir_*.deb"), package("libweir-dev_*.deb")):
        owners = {line.split()[1] for line in run("dpkg-deb", "-c", path).stdout.splitlines()}
        assert owners == {"root/root"}, owners


def test_maintainer_scripts_are_sound_shell():
    with directory() as root:
        unpacked(package("weir_*.deb"), root)
        for name in ("postinst", "prerm", "postrm"):
            path = f"{root}/DEBIAN/{name}"
            assert os.stat(path).st_mode & 0o777 == 0o755
            done = run("sh", "-n", path)
            assert done.returncode == 0, done.stderr
            assert run("sh", path, "abort-upgrade", "0").returncode == 0 # arguments that mean nothing to it: nothing is done


def test_packages_come_out_the_same_twice():
    paths = [package(kind) for kind in ("weir_*.deb", "libweir-dev_*.deb", "weir-*.tar.gz")]
    before = {os.path.basename(path): open(path, "rb").read() for path in paths}
    with directory() as root:
        env = dict(os.environ, TZ="Asia/Kathmandu", LC_ALL="C.UTF-8", LANG="C.UTF-8")
        done = subprocess.run(["sh", "-c", 'umask 077; exec scripts/package.py --build "$0" --out "$1"', BUILD, f"{root}/elsewhere"],
                              cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=300)
        assert done.returncode == 0, done.stdout
        again = {name: open(f"{root}/elsewhere/{name}", "rb").read() for name in os.listdir(f"{root}/elsewhere")}
        assert again.keys() == before.keys(), again.keys()
        assert [name for name in again if again[name] != before[name]] == []


def test_the_tarball_runs_from_any_folder():
    """By the README's own lines, with nothing of the build in reach."""
    code, = blocks_of_readme("c")
    compile_and_run = blocks_of_readme("sh")[1]
    with directory() as root:
        path = package("weir-*.tar.gz")
        names = run("tar", "tzf", path).stdout.splitlines()
        top = os.path.basename(path)[:-len(".tar.gz")]
        assert all(name == top + "/" or name.startswith(top + "/") for name in names), names[:5]
        os.mkdir(f"{root}/a folder")
        assert run("tar", "xzf", path, "-C", f"{root}/a folder").returncode == 0
        os.rename(f"{root}/a folder/{top}", f"{root}/moved")
        loaded = run("ldd", f"{root}/moved/bin/weir").stdout
        outside = {os.path.basename(file) for file in re.findall(r"=> (\S+)", loaded) if not file.startswith(root)}
        assert outside <= {"libc.so.6", "libm.so.6", "libresolv.so.2", "libpthread.so.0", "libdl.so.2", "librt.so.1"}, loaded
        open(f"{root}/hello.c", "w").write(code)
        script = compile_and_run.replace("$PWD/build", f"{root}/moved")
        done = run("env", "-i", "PATH=/usr/bin:/bin", f"HOME={root}", "bash", "-ec", script, cwd=root)
        assert done.returncode == 0 and "+I[" in done.stdout, done.stdout + done.stderr
        listed = open(f"{root}/moved/share/doc/weir/BUNDLED.md").read()
        for name in os.listdir(f"{root}/moved/lib/weir"):
            of = re.search(rf"`{re.escape(name)}` \| (\S+) \|", listed)[1]
            assert os.path.getsize(f"{root}/moved/share/doc/weir/licences/{of}") > 100, of
        shutil.rmtree(f"{root}/moved")


if __name__ == "__main__":
    main(globals())
