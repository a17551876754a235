#!/bin/bash
# A base image from Debian's packages, for machines that reach no image registry: debootstrap of this machine's own release, cut down the
# way Debian's slim images are. Prints its name. usage: scripts/containers/base.sh
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
. /etc/os-release
suite=${VERSION_CODENAME:?this machine is no Debian or Ubuntu}
image=localhost/weir-base:$suite
if ! buildah inspect --type image "$image" >/dev/null 2>&1; then
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -nE "s/^(URIs:|deb) +(\\[[^]]*\\] +)?([^ ]+).*/\\3/p" | head -n 1) || true
    root=$CONTAINERS/root-$suite
    rm -rf "$root"
    debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$CONTAINERS/debootstrap.log" 2>&1 || {
        tail -5 "$CONTAINERS/debootstrap.log" >&2
        exit 1
    }
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale,info}/*
    printf 'path-exclude /usr/share/%s/*\n' doc man locale info >"$root/etc/dpkg/dpkg.cfg.d/slim"
    container=$(buildah from scratch)
    buildah add -q "$container" "$root" / >/dev/null
    buildah config --cmd /bin/bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit -q --rm "$container" "$image" >/dev/null
    rm -rf "$root"
fi
echo "$image"
