#!/bin/sh
# The simulator in `make check`: prints TAP. See run.sh.
sim=${WEIR_BUILD:-build}/bin/weir-sim
out=$("$sim" --seeds 10000 --stats --sometimes 2>&1)
status=$?
printf '%s\n' "$out" | sed 's/^/# /'
if [ $status -eq 0 ]; then echo "ok - 10,000 seeds keep every invariant and reach the rare states"; else echo "not ok - 10,000 seeds"; fi
"$sim" --mutants --seeds 10000 2>/dev/null | awk '
    /^CAUGHT/ {print "ok - mutant " $2 " is caught"; next}
    /^MISSED|^AT ONCE/ {print "not ok - " $0; bad = 1; next}
    {print "# " $0}
    END {if (bad) exit 1}' || status=1
exit $status
