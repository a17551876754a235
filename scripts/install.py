#!/usr/bin/env python3
"""Puts what was built where it belongs, and takes it away again.

usage: scripts/install.py install|uninstall --build DIR --prefix DIR [--destdir DIR] [--libdir DIR] [--sysconfdir DIR]

What was put (files, and directories that were not there) is written to PREFIX/share/weir/installed: uninstalling removes that and nothing
else, and installing again removes what a newer version no longer has. A configuration file that was edited stays, both times.
package.py uses the same list of files.
"""
import argparse
import glob
import hashlib
import os
import re
import sys

sys.dont_write_bytecode = True # sudo make install leaves nothing of root's in the source tree
import man  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = ("weir", "weir-jobmanager", "weir-taskmanager")
RECORD = "share/weir/installed"


class Item:
    """One thing to install. `source`: a file to copy; `text`: what to write; `link`: a symbolic link's target. `part`: run or dev."""

    def __init__(self, path, source=None, text=None, link=None, mode=0o644, part="run", config=False):
        self.path, self.source, self.text, self.link = path, source, text, link
        self.mode, self.part, self.config = mode, part, config

    def content(self):
        if self.text is not None:
            return self.text if isinstance(self.text, bytes) else self.text.encode()
        with open(self.source, "rb") as file:
            return file.read()


class Places:
    """Where things go, as the installed software will see it (without DESTDIR)."""

    def __init__(self, prefix, libdir=None, sysconfdir=None, build="build", bin_source=None):
        self.prefix = "" if prefix == "/" else prefix
        self.libdir = libdir or f"{self.prefix}/lib"
        # weir looks for /etc/weir/weir.yaml; below another prefix everything stays there, and the units name the file.
        self.sysconfdir = sysconfdir or ("/etc" if prefix in ("/usr", "/usr/local") else f"{self.prefix}/etc")
        self.build = build
        self.plain = bool(bin_source)
        self.bin_source = bin_source or os.path.join(build, "bin")
        self.version = open(os.path.join(ROOT, "VERSION")).read().strip()
        self.zsh = "share/zsh/site-functions"

    def fill(self, text):
        config = f"{self.sysconfdir}/weir/weir.yaml"
        return (text.replace("@BINDIR@", f"{self.prefix}/bin")
                .replace("@DOCDIR@", f"{self.prefix}/share/doc/weir")
                .replace("@CONFIG@", "" if config == "/etc/weir/weir.yaml" else f" --config {config}"))


def configuration(build):
    """The example: every key with its meaning and default, all commented out. From the program's own table."""
    table = man.say(build, "weir-jobmanager", "--print-configuration")
    lines = ["# Configuration of weir: `key: value` a line. What stands here is the default; remove the # in front to change it.",
             "# -D key=value and the environment (WEIR_ and the key in capitals, . and - as _) win over this file.", ""]
    for row in re.findall(r"^\| `([^`]+)` \| ([^`]*) \| (?:`([^`]*)`)? ?\| (.*) \|$", table, re.M):
        key, kind, default, meaning = (cell.replace("\\|", "|") for cell in row)
        lines += [f"# {meaning} ({kind})", f"#{key}: {default}", ""]
    assert len(lines) > 20, "weir-jobmanager --print-configuration prints no table"
    return "\n".join(lines)


def pkg_config(places):
    """Relocatable: the prefix is found from the file's own place."""
    up = os.path.relpath(places.prefix or "/", f"{places.libdir}/pkgconfig")
    lib = os.path.relpath(places.libdir, places.prefix or "/")
    text = open(os.path.join(ROOT, "mk", "weir.pc.in")).read().replace("@VERSION@", places.version)
    return text.replace("${pcfiledir}/../..", "${pcfiledir}/" + up).replace("${prefix}/lib", "${prefix}/" + lib)


def completions(places):
    """Those that `weir completion SHELL` prints, where the command knows the shell."""
    for shell, path in (("bash", "share/bash-completion/completions/weir"), ("zsh", places.zsh + "/_weir"),
                        ("fish", "share/fish/vendor_completions.d/weir.fish")):
        text = man.say(places.build, "weir", "completion", shell)
        if text:
            yield Item(f"{places.prefix}/{path}", text=text)


def documents(places):
    doc = f"{places.prefix}/share/doc/weir"
    for pattern in ("README.md", "LICENSE", "NOTICE", "CHANGELOG.md", "SECURITY.md", "docs/*.md", "examples/*/*"):
        for source in sorted(glob.glob(os.path.join(ROOT, pattern))):
            if os.path.isfile(source):
                yield Item(f"{doc}/{os.path.relpath(source, ROOT)}", source=source)


def items(places):
    """Everything that belongs to an installation."""
    p, lib, build = places.prefix, places.libdir, places.build
    real, short = f"libweir.so.{places.version}", "libweir.so." + places.version.split(".")[0]
    for name in PROGRAMS:
        yield Item(f"{p}/bin/{name}", source=os.path.join(places.bin_source, name), mode=0o755)
        yield Item(f"{p}/share/man/man1/{name}.1", text=man.page(build, name))
    yield Item(f"{lib}/{real}", source=os.path.join(build, "lib", real), mode=0o644)
    yield Item(f"{lib}/{short}", link=real)
    yield Item(f"{lib}/libweir.so", link=short, part="dev")
    yield Item(f"{lib}/libweir-testing.so", source=os.path.join(build, "lib", "libweir-testing.so"), part="dev")
    if not places.plain: # libraries that programs with a search path prefer to the system's
        for source in sorted(glob.glob(os.path.join(build, "lib", "weir", "*.so.*"))):
            yield Item(f"{lib}/weir/{os.path.basename(source)}", source=source)
    yield Item(f"{lib}/pkgconfig/weir.pc", text=pkg_config(places), part="dev")
    for header in sorted(glob.glob(os.path.join(ROOT, "include/weir/*.h"))):
        yield Item(f"{p}/include/weir/{os.path.basename(header)}", source=header, part="dev")
    for unit in ("weir-jobmanager.service", "weir-taskmanager.service"):
        text = open(os.path.join(ROOT, "deploy/systemd", unit + ".in")).read()
        yield Item(f"{p}/lib/systemd/system/{unit}", text=places.fill(text))
    yield Item(f"{p}/lib/sysusers.d/weir.conf", source=os.path.join(ROOT, "deploy/systemd/weir.sysusers"))
    yield Item(f"{places.sysconfdir}/weir/weir.yaml", text=configuration(build), config=True)
    yield from completions(places)
    yield from documents(places)


# --- Putting and removing

def make_directories(destdir, path, made):
    """mkdir -p, 0755; those that were not there are added to `made`."""
    missing = []
    while path != "/" and not os.path.isdir(destdir + path):
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        os.mkdir(destdir + directory, 0o755)
        os.chmod(destdir + directory, 0o755)
        made.append(directory + "/")


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def put(destdir, item, made):
    """Writes one item, under another name first: a program that runs now keeps its file."""
    make_directories(destdir, os.path.dirname(item.path), made)
    target = destdir + item.path
    part = target + ".part"
    if os.path.lexists(part):
        os.unlink(part)
    if item.link:
        os.symlink(item.link, part)
    else:
        with open(part, "wb") as file:
            file.write(item.content())
        os.chmod(part, item.mode)
    os.replace(part, target)


def record_path(destdir, places):
    return f"{destdir}{places.prefix}/{RECORD}"


def read_record(destdir, places):
    """{path: "", or of a configuration file the SHA-256 it was installed with}; directories end in a slash."""
    path = record_path(destdir, places)
    if not os.path.exists(path):
        return {}
    with open(path) as file:
        return dict(line.rstrip("\n").split("\t") for line in file)


def is_edited(destdir, path, record):
    """A configuration that somebody changed, or that was there before weir."""
    return os.path.lexists(destdir + path) and digest(destdir + path) != record.get(path)


def install(destdir, places):
    os.makedirs(destdir or "/", exist_ok=True)
    old, record, made = read_record(destdir, places), {}, []
    make_directories(destdir, os.path.dirname(places.prefix + "/" + RECORD), made)
    for item in items(places):
        if item.config and is_edited(destdir, item.path, old):
            print(f"kept {destdir}{item.path}, which is not as weir installed it")
            if item.path in old:
                record[item.path] = old[item.path]
            continue
        put(destdir, item, made)
        record[item.path] = digest(destdir + item.path) if item.config else ""
    remove(destdir, {path: old[path] for path in old if not path.endswith("/") and path not in record})
    record.update({path: "" for path in [*made, *(path for path in old if path.endswith("/"))]})
    with open(record_path(destdir, places), "w") as file:
        file.writelines(f"{path}\t{value}\n" for path, value in sorted(record.items()))
    print(f"installed weir {places.version} in {destdir}{places.prefix}")


def remove(destdir, record):
    """Files first, then directories from the innermost; one that holds something else stays."""
    for path, value in record.items():
        target = destdir + path
        if path.endswith("/") or not os.path.lexists(target):
            continue
        if value and is_edited(destdir, path, record):
            print(f"kept {target}, which was changed")
            continue
        os.unlink(target)
    for path in sorted((path for path in record if path.endswith("/")), key=len, reverse=True):
        if os.path.isdir(destdir + path) and not os.listdir(destdir + path):
            os.rmdir(destdir + path)


def uninstall(destdir, places):
    record = read_record(destdir, places)
    if not record:
        print(f"weir is not installed in {destdir}{places.prefix} (there is no {RECORD} in it)")
        return
    os.unlink(record_path(destdir, places))
    remove(destdir, record)
    print(f"removed weir from {destdir}{places.prefix}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("install", "uninstall"))
    for option in ("build", "prefix"):
        parser.add_argument("--" + option, required=True)
    for option in ("destdir", "libdir", "sysconfdir", "bin-source"):
        parser.add_argument("--" + option, default="")
    given = parser.parse_args()
    for option in ("prefix", "libdir", "sysconfdir"):
        path = getattr(given, option)
        if path and (not path.startswith("/") or re.search(r'[\s%"\'\\$]', path)):
            sys.exit(f"{option.upper()}={path}: want an absolute path without spaces, quotes, % and $")
        setattr(given, option, os.path.normpath(path) if path else "")
    destdir = os.path.abspath(given.destdir) if given.destdir else ""
    destdir = "" if destdir == "/" else destdir
    places = Places(given.prefix, given.libdir, given.sysconfdir, given.build, given.bin_source)
    os.umask(0o022)
    try:
        (install if given.what == "install" else uninstall)(destdir, places)
    except PermissionError as error:
        sys.exit(f"cannot write {error.filename}: {error.strerror}; as root, or with another PREFIX= or DESTDIR=")
    except OSError as error:
        sys.exit(f"cannot write {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
