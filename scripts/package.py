#!/usr/bin/env python3
"""Packages of what was built: weir_VERSION_ARCH.deb, libweir-dev_VERSION_ARCH.deb, weir-VERSION-linux-MACHINE.tar.gz.

usage: scripts/package.py --build DIR [--out DIR] [deb] [tar]      (make package; both kinds unless one is named)

The .deb files lean on the distribution's libraries, as dpkg-shlibdeps finds them; the tar.gz brings its own along in lib/weir, with their
licences, all but the C library's, so that it runs on any system whose C library is at least as new. The same sources, compiler and
SOURCE_DATE_EPOCH give the same bytes (SOURCE_DATE_EPOCH: else the time of the last commit, else that of the file VERSION).
"""
import argparse
import ctypes
import glob
import gzip
import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile

sys.dont_write_bytecode = True
import install  # noqa: E402

ROOT = install.ROOT
DEBIAN = os.path.join(ROOT, "deploy", "debian")
MAINTAINER = "The weir authors <weir@packages.invalid>"
ABOUT = {
    "weir": ("net", "distributed stream processor", """\
 A JobManager schedules the parallel tasks of a dataflow onto TaskManagers;
 they exchange columnar batches of rows. Windows over event time, with the
 REST interface, metric names and terms of Apache Flink.
 .
 This package has the daemons with their systemd units, the weir command and
 the library that jobs are loaded against. To write jobs: libweir-dev."""),
    "libweir-dev": ("libdevel", "distributed stream processor (development files)", """\
 The header and the pkg-config file to write jobs for weir in C. A job is a
 shared object that weir loads."""),
}
# The C library's parts must be the system's own.
SYSTEM = re.compile(r"(linux-vdso|ld-linux.*|libc|libm|libdl|libpthread|librt|libresolv|libutil|libanl|libnss_.*|libmvec|libnsl)\.so")


def output_of(*command, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def source_date():
    if os.environ.get("SOURCE_DATE_EPOCH"):
        return int(os.environ["SOURCE_DATE_EPOCH"])
    commit = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%ct"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return int(commit.stdout or os.stat(os.path.join(ROOT, "VERSION")).st_mtime)


def stage(items, root):
    """Puts items below a root; programs and the library lose what only a debugger reads."""
    os.makedirs(root, exist_ok=True)
    for item in items:
        install.put(root, item, [])
        if item.source and (item.mode & 0o111 or re.search(r"\.so(\.|$)", item.path)):
            output_of(os.environ.get("STRIP", "strip"), "--strip-unneeded", root + item.path)


def files_below(root):
    return sorted(os.path.join(folder, name) for folder, _, files in os.walk(root) for name in files)


def write(path, content, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
    os.chmod(path, mode)


def compressed(content):
    out = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, out, mtime=0) as file:
        file.write(content)
    return out.getvalue()


# --- .deb

def debian_items(places):
    """What is installed, as Debian wants it: manual pages compressed, no licence twice, pkg-config without a search for its prefix."""
    for item in install.items(places):
        if "/share/man/" in item.path:
            item.path, item.text = item.path + ".gz", compressed(item.content())
        elif item.path.endswith("/weir.pc"):
            item.text = re.sub(r"^prefix=.*$", "prefix=/usr", item.text, flags=re.M)
        elif item.path.endswith("/LICENSE"):
            continue
        yield item


def library_dependencies(work, root, places):
    """The packages, with versions, of the libraries that the programs need."""
    soname = places.version.split(".")[0]
    write(f"{work}/debian/control", "Source: weir\n\nPackage: weir\nArchitecture: any\nDescription: weir\n")
    write(f"{work}/debian/shlibs.local", f"libweir {soname} weir\n")
    programs = [f"{root}/usr/bin/{name}" for name in install.PROGRAMS] + [f"{root}{places.libdir}/libweir.so.{places.version}"]
    said = output_of("dpkg-shlibdeps", "-O", "-xweir", f"-l{root}{places.libdir}", *programs, cwd=work)
    return re.search(r"^shlibs:Depends=(.*)$", said, re.M)[1]


def changelog(places, date):
    stamp = output_of("date", "-u", "-R", "-d", f"@{date}", env=dict(os.environ, LC_ALL="C")).strip()
    text = f"weir ({places.version}) unstable; urgency=medium\n\n  * Release {places.version}.\n\n -- {MAINTAINER}  {stamp}\n"
    return compressed(text.encode())


def write_control(name, root, items, places, more):
    """DEBIAN/: control, checksums, and of weir itself the scripts of its user and directories."""
    paths = files_below(root)
    section, title, text = ABOUT[name]
    size_kib = sum((os.lstat(path).st_size + 1023) // 1024 for path in paths)
    fields = {"Package": name, "Version": places.version, "Architecture": output_of("dpkg", "--print-architecture").strip(),
              "Maintainer": MAINTAINER, "Section": section, "Priority": "optional", "Installed-Size": str(size_kib), **more,
              "Description": f"{title}\n{text}"}
    sums = [f"{hashlib.md5(open(path, 'rb').read()).hexdigest()}  {os.path.relpath(path, root)}\n"
            for path in paths if not os.path.islink(path)]
    write(f"{root}/DEBIAN/md5sums", "".join(sums))
    write(f"{root}/DEBIAN/control", "".join(f"{field}: {value}\n" for field, value in fields.items()))
    if name == "weir":
        for script in ("postinst", "prerm", "postrm"):
            write(f"{root}/DEBIAN/{script}", open(f"{DEBIAN}/weir.{script}").read(), 0o755)
        write(f"{root}/DEBIAN/conffiles", "".join(f"{item.path}\n" for item in items if item.config))
        write(f"{root}/DEBIAN/shlibs", f"libweir {places.version.split('.')[0]} weir (>= {places.version})\n")
        write(f"{root}/DEBIAN/triggers", "activate-noawait ldconfig\n")


def build_deb(name, items, work, out, places, date, depends):
    root = f"{work}/{name}"
    stage(items, root)
    write(f"{root}/usr/share/doc/{name}/copyright", open(f"{DEBIAN}/copyright").read())
    write(f"{root}/usr/share/doc/{name}/changelog.gz", changelog(places, date))
    overrides = f"{DEBIAN}/{name}.lintian-overrides"
    if os.path.exists(overrides):
        write(f"{root}/usr/share/lintian/overrides/{name}", open(overrides).read())
    write_control(name, root, items, places, depends(root))
    for folder, _, _ in os.walk(root):
        os.chmod(folder, 0o755)
    said = output_of("dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, out,
                     env=dict(os.environ, SOURCE_DATE_EPOCH=str(date)))
    print(re.search(r"in '(.*)'", said)[1])


def debs(build, work, out, date):
    multiarch = output_of("dpkg-architecture", "-qDEB_HOST_MULTIARCH").strip()
    places = install.Places("/usr", libdir=f"/usr/lib/{multiarch}", build=build, bin_source=f"{build}/package/bin")
    places.zsh = "share/zsh/vendor-completions"
    items = list(debian_items(places))
    build_deb("weir", [item for item in items if item.part != "dev"], work, out, places, date,
              lambda root: {"Depends": f"adduser, {library_dependencies(work, root, places)}", "Suggests": "libweir-dev"})
    build_deb("libweir-dev", [item for item in items if item.part == "dev"], work, out, places, date,
              lambda root: {"Depends": f"weir (= {places.version})",
                            "Recommends": "gcc | c-compiler, libc6-dev, pkgconf | pkg-config"})


# --- .tar.gz

def libraries_of(programs):
    """{soname: file} of everything they load, but the C library."""
    found = {}
    for program in programs:
        for name, path in re.findall(r"^\s*(\S+) => (/\S+)", output_of("ldd", program), re.M):
            if not SYSTEM.match(name) and not name.startswith("libweir."):
                found[name] = os.path.realpath(path)
        missing = re.findall(r"^\s*(\S+) => not found", output_of("ldd", program), re.M)
        if missing:
            sys.exit(f"{program} needs {', '.join(missing)}, which are not here")
    return found


def packages_of(paths):
    """{file: (name, version)} of the Debian packages that libraries are from; a file of no package is missing."""
    plain = [path.removeprefix("/usr") for path in paths] # a package may name it by the old place, /lib
    done = subprocess.run(["dpkg", "-S", *paths, *plain], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    owners = {file: owner.split(",")[0] for owner, file in re.findall(r"^(\S.*): (/.*)$", done.stdout, re.M)}
    found = {path: owners.get(path) or owners.get(other) for path, other in zip(paths, plain)}
    said = output_of("dpkg-query", "-W", "-f=${binary:Package}\t${Package}\t${Version}\n", *sorted(set(filter(None, found.values()))))
    rows = [line.split("\t") for line in said.splitlines()]
    known = {name: (package, version) for full, package, version in rows for name in (full, package)}
    return {path: known[owner] for path, owner in found.items() if owner}


def parts_of(name, path):
    """Of a library that is of no package: where it is from, its version, and the packages that have the licences of its parts."""
    if name != "librdkafka.so.1":
        sys.exit(f"{path} is of no Debian package, so its licence is not known: it cannot be put into a package")
    library = ctypes.CDLL(path)
    library.rd_kafka_version_str.restype = ctypes.c_char_p
    known = dict(re.findall(r"^\s*(\S+) \([^)]*\) => (/\S+)", output_of("/sbin/ldconfig", "-p"), re.M))
    parts = (name, "libssl.so.3", "libcurl.so.4", "libz.so.1", "libzstd.so.1", "liblz4.so.1") # linked into it, but for itself
    owners = packages_of([os.path.realpath(known[part]) for part in parts])
    return "confluent-kafka", library.rd_kafka_version_str().decode(), sorted(package for package, _ in owners.values())


def bundle(root, programs):
    """Copies the libraries beside the programs, with a list and the licences of the packages they are from."""
    rows, licences = [], set()
    libraries = libraries_of(programs)
    packages = packages_of(list(libraries.values()))
    owners = set()
    for name, path in sorted(libraries.items()):
        write(f"{root}/lib/weir/{name}", open(path, "rb").read())
        if path in packages:
            owner, version = packages[path]
            owners.add(owner)
        else:
            owner, version, parts = parts_of(name, path)
            owners.update(parts)
            write(f"{root}/share/doc/weir/licences/{owner}", f"{name} is librdkafka {version} as PyPI's package {owner} has it. The licences of "
                  f"librdkafka and of what is linked into it are in these files: {', '.join(parts)}.\n")
        rows.append(f"| `{name}` | {owner} | {version} |\n")
    for owner in sorted(owners):
        text = open(f"/usr/share/doc/{owner}/copyright", errors="replace").read()
        write(f"{root}/share/doc/weir/licences/{owner}", text)
        licences.update(re.findall(r"/usr/share/common-licenses/([A-Za-z0-9.-]*[A-Za-z0-9])", text))
    for name in sorted(licences):
        if os.path.isfile(f"/usr/share/common-licenses/{name}"):
            write(f"{root}/share/doc/weir/licences/common/{name}", open(f"/usr/share/common-licenses/{name}").read())
    needed = max((tuple(map(int, version.split("."))) for path in glob.glob(f"{root}/lib/weir/*") + programs
                  for version in re.findall(r"GLIBC_(\d+\.\d+)", output_of("objdump", "-T", path))), default=(2, 0))
    write(f"{root}/share/doc/weir/BUNDLED.md", "# Libraries that come along\n\nIn `lib/weir`, unchanged, from these Debian packages (librdkafka "
          "may be that of PyPI's confluent-kafka); the licences are in `licences/` (common texts in `licences/common/`), the sources in Debian's archive "
          "and where PyPI's package says.\n"
          f"Of the system weir needs its C library alone: glibc {needed[0]}.{needed[1]} or newer.\n\n"
          "| library | package | version |\n|---|---|---|\n" + "".join(rows))


def tarball(build, work, out, date):
    places = install.Places("/opt/weir", build=build)
    name = f"weir-{places.version}-linux-{platform.machine()}"
    stage(install.items(places), f"{work}/tar")
    root = f"{work}/tar/opt/weir"
    bundle(root, [f"{build}/bin/{program}" for program in install.PROGRAMS])

    def entry(info):
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        info.mtime = date
        info.mode = 0o755 if info.isdir() or info.mode & 0o111 else 0o644
        return info

    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(root, name, recursive=False, filter=entry)
        for folder, names, files in os.walk(root): # tarfile's own walk is sorted, too; here it is said
            names.sort()
            for path in sorted(os.path.join(folder, n) for n in names + files):
                tar.add(path, os.path.join(name, os.path.relpath(path, root)), recursive=False, filter=entry)
    path = os.path.join(out, name + ".tar.gz")
    with open(path, "wb") as file:
        with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
            packed.write(plain.getvalue())
    print(path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--out")
    parser.add_argument("kinds", nargs="*", metavar="deb|tar")
    given = parser.parse_args()
    kinds = given.kinds or ["deb", "tar"]
    if set(kinds) - {"deb", "tar"}:
        parser.error("want deb or tar")
    out = os.path.abspath(given.out or f"{given.build}/package")
    work = os.path.join(out, "work")
    os.umask(0o022)
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    date = source_date()
    os.environ["SOURCE_DATE_EPOCH"] = str(date) # manual pages bear it
    for kind in ("deb", "tar"):
        if kind in kinds:
            (debs if kind == "deb" else tarball)(os.path.abspath(given.build), work, out, date)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
