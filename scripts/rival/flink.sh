#!/bin/sh
# Assembles Apache Flink from PyPI, once, into a cache folder outside the checkout, and prints that folder: the rival of `make bench-rival`.
# Two packages have its parts: apache-flink-libraries the jars, apache-flink the scripts and configuration of `bin` and `conf`. Its Kafka connector
# comes from Maven Central (pom.xml).
# Usage: scripts/rival/flink.sh [CACHE]   (default: $XDG_CACHE_HOME/weir or ~/.cache/weir)
set -eu
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
version=1.20.5
cache=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}
home=$cache/flink-$version
kafka() { # the connector; slf4j is Flink's own
    [ -e "$home/.kafka" ] && return
    mvn -B -q -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DexcludeGroupIds=org.slf4j -DoutputDirectory="$home/lib" >&2
    touch "$home/.kafka"
}
if [ -e "$home/.complete" ]; then
    kafka
    echo "$home"
    exit 0
fi
mkdir -p "$cache"
work=$(mktemp -d "$cache/flink-XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "fetching Flink $version into $home" >&2
cd "$work"
# bin and conf are the same in every wheel: any platform's will do. The libraries are a source archive whose metadata pip wants to see.
python3 -m pip download --quiet --no-deps --only-binary :all: --python-version 3.11 --platform manylinux2014_x86_64 \
    "apache-flink==$version" >&2
python3 -m pip download --quiet --no-deps "apache-flink-libraries==$version" >&2
python3 - <<'PY'
import glob
import os
import tarfile
import zipfile

zipfile.ZipFile(glob.glob("apache_flink-*.whl")[0]).extractall("wheel")
archive = tarfile.open(glob.glob("apache?flink?libraries-*.tar.gz")[0])
archive.extractall("libraries", [m for m in archive if "/deps/" in m.name and (m.isfile() or m.isdir())])
deps = glob.glob("libraries/*/deps")[0]
os.mkdir("flink")
for part in ("lib", "opt", "plugins"):
    os.rename(os.path.join(deps, part), os.path.join("flink", part))
for part in ("bin", "conf"):
    os.rename(os.path.join("wheel/pyflink", part), os.path.join("flink", part))
os.rename(os.path.join(deps, "bin/bash-java-utils.jar"), "flink/bin/bash-java-utils.jar")
os.mkdir("flink/log")
for script in glob.glob("flink/bin/*.sh") + ["flink/bin/flink"]:
    os.chmod(script, 0o755)
PY
touch flink/.complete
rm -rf "$home"
mv flink "$home"
kafka
echo "$home"
