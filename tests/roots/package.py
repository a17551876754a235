#!/usr/bin/env python3
"""make check-package: the packages in clean systems.

usage: tests/roots/package.py [debian12] [debian13] [ubuntu24.04]      (default: the two Debians)

For each system: `make package` in a root with the tools, then the .deb files in one without: units verified, daemons started as the units
say, the temperature job compiled there and run, everything purged, and the system compared with what it was. Then the tar.gz in a system that
has nothing but its C library.
"""
import hashlib
import os
import re
import shutil
import stat
import sys

import roots
from roots import ROOT, Failed, Tap

WINDOWS = "--window '1 d' --lateness '2 s' --threshold 80"
# What installing and removing any package changes.
CHANGING = re.compile(r"^(var/lib/dpkg|var/cache|var/log/(dpkg|alternatives|apt|lastlog|faillog)|var/lib/(apt|systemd)|etc/ld\.so\.cache|etc/resolv\.conf|"
                      r"etc/(passwd|group|shadow|gshadow|subuid|subgid)-|tmp|run|proc|sys|dev|root)(/|$|\.|-)")


def snapshot(root):
    """{path: kind, mode, owner, content} of all that is not apt's own book-keeping."""
    found = {}
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            full = os.path.join(folder, name)
            path = os.path.relpath(full, root)
            if CHANGING.match(path):
                continue
            at = os.lstat(full)
            content = os.readlink(full) if stat.S_ISLNK(at.st_mode) else at.st_size if stat.S_ISREG(at.st_mode) else None
            if path.startswith("etc/") and stat.S_ISREG(at.st_mode):
                content = hashlib.sha256(open(full, "rb").read()).hexdigest()
            found[path] = (stat.filemode(at.st_mode), at.st_uid, at.st_gid, content)
        names[:] = [name for name in names if not CHANGING.match(os.path.relpath(os.path.join(folder, name), root))]
    return found


def build(name, out):
    """The packages of one system, made in a root of it."""
    root = roots.derived(name, "build")
    roots.copy_tree(root + "/src")
    roots.run(root, "/src/scripts/deps.sh build")
    roots.run(root, f"cd /src && make -s -j{os.cpu_count()} BUILD=build-package OPT='-O2 -Werror' SOURCE_DATE_EPOCH=1700000000 package",
              timeout_s=3600)
    os.makedirs(out, exist_ok=True)
    packages = [path for path in os.listdir(f"{root}/src/build-package/package") if path.endswith((".deb", ".tar.gz"))]
    for path in packages:
        shutil.copy(f"{root}/src/build-package/package/{path}", out)
    return ", ".join(sorted(packages))


def prepare(root, out):
    """What the packages lean on, and what a user of libweir-dev has; not the packages."""
    shutil.copytree(out, f"{root}/packages")
    shutil.copy(os.path.join(ROOT, "tests/roots/package_in_root.sh"), root)
    roots.run(root, """apt-get update -qq
        depends=$(dpkg-deb -f /packages/weir_*.deb Depends)
        apt-get satisfy -y -qq --no-install-recommends "$depends, gcc, libc6-dev, pkg-config, systemd" """)


def installs(root):
    return roots.run(root, "dpkg -i /packages/weir_*.deb /packages/libweir-dev_*.deb 2>&1 && dpkg -l weir libweir-dev | grep -c ^ii").split()[-1]


def units(root):
    said = roots.run(root, "systemd-analyze verify --man=no /usr/lib/systemd/system/weir-*.service 2>&1", check=False)
    about_us = [line for line in said.splitlines() if "weir" in line and "Failed to connect" not in line]
    assert not about_us, "\n".join(about_us)
    levels = roots.run(root, "for u in weir-jobmanager weir-taskmanager; do "
                             "systemd-analyze security --no-pager --offline=yes /usr/lib/systemd/system/$u.service | tail -1; done")
    exposed = [float(level) for level in re.findall(r"level for \S+: (\d+\.\d+)", levels)]
    assert len(exposed) == 2 and max(exposed) < 2.5, levels
    return f"exposure {max(exposed)}"


def runs(root):
    return roots.run(root, "sh /package_in_root.sh", timeout_s=600).splitlines()[-1]


def goes(root, before):
    roots.run(root, "dpkg -r libweir-dev weir")
    left = snapshot(root)
    assert "usr/bin/weir" not in left and "etc/weir/weir.yaml" in left and "var/lib/weir" in left, "dpkg -r keeps configuration and state"
    roots.run(root, "dpkg -P libweir-dev weir")
    after = snapshot(root)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    assert not changed, "\n".join(f"{path}: {before.get(path)} -> {after.get(path)}" for path in changed[:30])
    names = roots.run(root, "getent passwd weir; getent group weir; true")
    assert not names, names


def debs(tap, name, out):
    root = roots.clean(name, "package")
    try:
        prepare(root, out)
        before = snapshot(root)
        if (tap.step(f"{name}: the packages install", installs, root) and tap.step(f"{name}: units are right", units, root)
                and tap.step(f"{name}: again, over themselves", installs, root) and tap.step(f"{name}: daemons and a job", runs, root)):
            tap.step(f"{name}: nothing is left after a purge", goes, root, before)
        # The tarball's README line wants a compiler, which the next root does not have.
        roots.run(root, """mkdir /unpacked && tar xzf /packages/weir-*.tar.gz -C /unpacked --strip-components=1
            export PKG_CONFIG_PATH=/unpacked/lib/pkgconfig && cd /unpacked/share/doc/weir/examples/gpu-temperature &&
            cc -shared -fPIC job.c -o /packages/job.so $(pkg-config --cflags --libs weir)""")
        shutil.copy(f"{root}/packages/job.so", out)
    finally:
        roots.remove(root)


def tarball(name, out):
    """Nothing but what debootstrap --variant=minbase gives, and no network either: as an ordinary user, from a folder of theirs."""
    root = roots.clean(name, "tarball")
    try:
        shutil.copytree(out, f"{root}/packages")
        roots.run(root, f"""install -d -o 65534 -g 65534 '/srv/a folder' && cd '/srv/a folder' && exec setpriv --reuid 65534 --regid 65534 \
            --clear-groups sh -euc 'export HOME=$PWD; tar xzf /packages/weir-*.tar.gz; cd weir-*; PATH=$PWD/bin:$PATH; input=$PWD/share/doc/weir/examples/gpu-temperature
            weir run --local /packages/job.so --input "$input/readings.jsonl.gz" --output out {WINDOWS.replace("'", '"')}
            test $(cat out/windows/part-* | wc -l) = 1092
            weir cluster start --taskmanagers 2 && weir run -p 2 /packages/job.so --input "$input/readings.jsonl.gz" --output "$HOME/out" {WINDOWS.replace("'", '"')}
            weir cluster stop; test $(cat "$HOME"/out/windows/part-* | wc -l) = 1092'""")
    finally:
        roots.remove(root)


def check(tap, name):
    out = os.path.join(roots.CACHE, f"{name}-packages")
    with roots.locked(name + "-build"):
        shutil.rmtree(out, ignore_errors=True)
        try:
            if tap.step(f"{name}: make package", build, name, out):
                debs(tap, name, out)
                tap.step(f"{name}: the tar.gz in a bare system", tarball, name, out)
        except Failed as why:
            tap.fail(f"{name}: a clean root", why)


def main():
    names = sys.argv[1:] or ["debian12", "debian13"]
    unknown = set(names) - set(roots.SYSTEMS)
    if unknown:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(roots.SYSTEMS)}")
    roots.require()
    tap = Tap()
    for name in names:
        check(tap, name)
    tap.end()


if __name__ == "__main__":
    main()
