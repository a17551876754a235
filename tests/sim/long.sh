#!/bin/sh
# Many seeds, in shards of 2,000, JOBS of them at a time (default: one per CPU), at low priority: prints one line a shard and every seed that fails.
# Usage: tests/sim/long.sh PATH/weir-sim [SEEDS [FIRST]]; JOBS=n
set -eu
sim=$1
seeds=${2:-100000}
first=${3:-1}
shard=2000
# A shard is one thread and takes memory for one world at a time; 1 GiB is many times that, and stops one that grows.
seq "$first" "$shard" $((first + seeds - 1)) | sed "s/\$/ $((first + seeds))/" |
    SIM=$sim SHARD=$shard xargs -P "${JOBS:-$(nproc)}" -L 1 nice -n 15 sh -c '
        ulimit -v 1048576
        count=$(($2 - $1 < SHARD ? $2 - $1 : SHARD))
        exec "$SIM" --seed "$1" --seeds "$count" --all 2>/dev/null' sh
echo "OK $seeds seeds from $first"
