#!/usr/bin/env python3
"""make check-portable: weir built with -Werror and its unit tests run elsewhere.

usage: tests/roots/portable.py [debian12] [debian13] [ubuntu24.04] [arm64]      (default: all)

In clean roots (roots.py) with what scripts/deps.sh installs there, by gcc and by clang; for arm64 by the cross compiler against Debian 12's
arm64 libraries, the tests under qemu-user. The first run makes the roots (network); later ones build and test only.
"""
import os
import re
import sys

import roots
from roots import ROOT, Failed, Tap

COMPILERS = (("gcc", "g++"), ("clang", "clang++"))
JOBS = os.cpu_count() or 1
# qemu-aarch64 in the kernel's table of interpreters: an ELF file for arm64, program or shared object.
INTERPRETER = (r":qemu-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:"
               r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:F")


def outside_cases():
    """The conformance cases and data sets, where they are: bound into the root, named in its environment."""
    binds, env = [], {}
    for variable, name in (("WEIR_CONFORMANCE", "conformance"), ("WEIR_DATA", "data")):
        path = os.path.abspath(os.environ.get(variable) or os.path.join(ROOT, "..", "shared", name))
        if os.path.isdir(path):
            binds.append((path, "/" + name))
            env[variable] = "/" + name
    return binds, env


def make(root, target, variables, before=":", **more):
    binds, env = outside_cases()
    settings = " ".join(f"{name}='{value}'" for name, value in variables.items())
    return roots.run(root, f"{before} && cd /src && make -s -j{JOBS} --output-sync=target {settings} {target}",
                     binds=binds, env={**env, **more.pop("env", {})}, timeout_s=3600, **more)


def build(root, variables, **more):
    make(root, "all unit-tests", variables, **more)
    return roots.run(root, f"{variables['CC']} --version").splitlines()[0]


def unit_tests(root, variables, **more):
    output = make(root, "check-unit", variables, check=False, **more)
    counts = re.findall(r"^\d+ passed, \d+ failed, \d+ skipped$", output, re.M)
    if not counts or " 0 failed" not in counts[-1]:
        raise Failed(roots.tail(output, 80))
    return counts[-1]


def prepare(name, suffix, packages):
    """The root with the tree in /src and everything it needs. `packages` installs that."""
    root = roots.derived(name, suffix)
    roots.copy_tree(root + "/src")
    packages(root)
    return root


def native(tap, name):
    with roots.locked(name + "-build"):
        try:
            root = prepare(name, "build", lambda root: roots.run(root, "/src/scripts/deps.sh portable"))
        except Failed as why:
            if name.startswith("ubuntu") and "debootstrap" in str(why).split("\n")[0]:
                tap.skip(name, "its archive cannot be reached: " + str(why).splitlines()[-1])
            else:
                tap.fail(f"{name}: a root with what scripts/deps.sh installs", why)
            return
        for cc, cxx in COMPILERS:
            variables = {"CC": cc, "CXX": cxx, "BUILD": f"build-{cc}", "OPT": "-O2 -Werror"}
            if tap.step(f"{name} {cc}: builds without a warning", build, root, variables):
                tap.step(f"{name} {cc}: unit tests", unit_tests, root, variables)


def cross_packages(root):
    """Tools of this machine, libraries of the other: every -dev package that deps.sh names."""
    names = roots.run(root, "/src/scripts/deps.sh list build; /src/scripts/deps.sh list test").split()
    libraries = sorted({f"{name}:arm64" for name in names if name.startswith("lib") or name.endswith("-dev")})
    tools = [name for name in names if not name.endswith("-dev")]
    roots.run(root, "dpkg --print-foreign-architectures | grep -q arm64 || { dpkg --add-architecture arm64; apt-get update -qq; }")
    roots.install_packages(root, " ".join(sorted({*tools, "crossbuild-essential-arm64", "qemu-user-static"}) + libraries))


def can_run_arm64(root):
    """Why programs for arm64 cannot be started in the root; None if they can."""
    try:
        roots.run(root, f"printf '%s' '{INTERPRETER}' > /proc/sys/fs/binfmt_misc/register && ls /proc/sys/fs/binfmt_misc/qemu-aarch64",
                  private_binfmt=True)
    except Failed as why:
        return "this kernel has no interpreters of programs in user namespaces (Linux 6.7): " + str(why).splitlines()[-1]
    return None


def arm64(tap):
    with roots.locked("debian12-arm64"):
        try:
            root = prepare("debian12", "arm64", cross_packages)
        except Failed as why:
            tap.fail("arm64: a root with the cross compiler and Debian's arm64 libraries", why)
            return
        variables = {"CC": "aarch64-linux-gnu-gcc", "CXX": "aarch64-linux-gnu-g++", "BUILD": "build-arm64", "OPT": "-O2 -Werror"}
        env = {"PKG_CONFIG_LIBDIR": "/usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig"}
        if not tap.step("arm64 gcc: builds without a warning", lambda: build(root, variables, env=env)):
            return
        why = can_run_arm64(root)
        if why:
            tap.skip("arm64 gcc: unit tests", why)
            return
        env.update(WEIR_TEST_PATIENCE="8", WEIR_TEST_EMULATED="1")
        register = f"printf '%s' '{INTERPRETER}' > /proc/sys/fs/binfmt_misc/register"
        tap.step("arm64 gcc: unit tests under qemu",
                 lambda: unit_tests(root, variables, env=env, private_binfmt=True, before=register))


def main():
    names = sys.argv[1:] or [*roots.SYSTEMS, "arm64"]
    unknown = set(names) - {*roots.SYSTEMS, "arm64"}
    if unknown:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(roots.SYSTEMS)}, arm64")
    roots.require()
    tap = Tap()
    for name in names:
        if name == "arm64":
            arm64(tap)
        else:
            native(tap, name)
    tap.end()


if __name__ == "__main__":
    main()
