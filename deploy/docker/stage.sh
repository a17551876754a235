#!/bin/sh
# Lays out what an image gets: DIR/root, the files, and DIR/packages, the Debian packages of the libraries that they need.
# usage: deploy/docker/stage.sh BUILD DIR       (in the repository's root; BUILD is where `make all` put its results)
set -eu
build=$1
dir=$2
rm -rf "$dir"
mkdir -p "$dir/root/usr/bin" "$dir/root/usr/lib" "$dir/root/usr/share/doc/weir" "$dir/root/usr/share/weir/examples"
for program in weir weir-jobmanager weir-taskmanager; do
    cp "$build/bin/$program" "$dir/root/usr/bin/"
done
cp -P "$build"/lib/libweir.so.[0-9]* "$dir/root/usr/lib/"
# Libraries that programs take before the system's: librdkafka's current release.
[ ! -d "$build/lib/weir" ] || cp -r "$build/lib/weir" "$dir/root/usr/lib/"
for text in LICENSE NOTICE; do
    [ ! -f "$text" ] || cp "$text" "$dir/root/usr/share/doc/weir/"
done
# The main example: something to run at once.
cp "$build/examples/gpu-temperature.so" examples/gpu-temperature/readings.jsonl.gz "$dir/root/usr/share/weir/examples/"
find "$dir/root" -type f \( -path '*/bin/*' -o -name '*.so*' \) -exec strip --strip-unneeded {} +
# Of every library named by a program its path (ldd), of every path its package, but of those that come along. A path may be known with /usr
# in front.
needed=$(find "$dir/root" -type f \( -path '*/bin/*' -o -name '*.so*' \) -exec objdump -p {} + |
    awk '$1 == "NEEDED" && $2 !~ /^(libweir|ld-linux)/ { print $2 }' | sort -u)
for library in $needed; do
    for program in "$build"/bin/weir-taskmanager "$build"/bin/weir; do
        ldd "$program" | awk -v name="$library" '$1 == name && $2 == "=>" { print "*" $3 }'
    done
done | sort -u | grep -v '/lib/\(\.\./lib/\)\?weir/' | xargs dpkg -S | sed 's/:.*//' | sort -u >"$dir/packages"
[ -s "$dir/packages" ] || { echo "stage.sh: no package has the libraries that the programs need" >&2; exit 1; }
