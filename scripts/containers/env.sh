# Sourced by the scripts here and in scripts/kubernetes: where what they make is kept (outside the checkout, so that a second run is
# quick), and how buildah and podman are to work. WEIR_PARTS=DIR: another place than ~/.cache/weir-parts.
WEIR_PARTS=${WEIR_PARTS:-${XDG_CACHE_HOME:-$HOME/.cache}/weir-parts}
CONTAINERS=$WEIR_PARTS/containers
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$CONTAINERS"
printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/storage"\nrunroot = "/run/weir-containers"\n' "$CONTAINERS" >"$CONTAINERS/storage.conf"
export WEIR_PARTS CONTAINERS CONTAINERS_STORAGE_CONF=$CONTAINERS/storage.conf CONTAINERS_CONF=$here/containers.conf
