#!/bin/sh
# The simulator as a test: SEEDS seeds (10,000 or more: with all rare states reached and 1,000 events in the median
# one), and every mutant caught. Usage: tests/sim/run.sh PATH/weir-sim [SEEDS]
set -eu
sim=$1
seeds=${2:-10000}

if [ "$seeds" -ge 10000 ]; then
    "$sim" --seeds "$seeds" --stats --sometimes
else
    "$sim" --seeds "$seeds" --stats
fi
echo "--- mutants: each removes one guard of a core and must be caught"
"$sim" --mutants --seeds 10000 --known "$(dirname "$0")/known" 2>/dev/null
