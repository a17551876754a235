#!/bin/sh
# Runs libFuzzer targets in turn: run.sh BUILD SECONDS [TARGET...]. What they learn is kept in BUILD/corpus; an input that fails is kept
# in BUILD/found and named; to look into it: BUILD/tests/fuzz/NAME_fuzz FILE. Then it becomes a file of tests/fuzz/corpus/NAME.
set -u
build=$1 seconds=$2
shift 2
[ $# -gt 0 ] || set -- $(cd tests/fuzz && ls *_fuzz.c | sed 's/_fuzz\.c$//')
failed=
mkdir -p "$build/found"
for name; do
    learned=$build/corpus/$name
    mkdir -p "$learned"
    dict=tests/fuzz/dict/$name.dict
    [ -f "$dict" ] && dict=-dict=$dict || dict=
    more=
    [ "$name" = http ] && more=-detect_leaks=0 # other threads are in the middle of something when an input ends
    echo "fuzz $name for $seconds s"
    # shellcheck disable=SC2086
    UBSAN_OPTIONS=print_stacktrace=1 "$build/tests/fuzz/${name}_fuzz" $dict $more -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -malloc_limit_mb=512 -max_len=6000 -use_value_profile=1 -print_final_stats=1 -artifact_prefix="$build/found/$name-" \
        "$learned" "tests/fuzz/corpus/$name" >"$build/$name.log" 2>&1
    code=$?
    grep -E 'DONE|number_of_executed_units|new_units_added|peak_rss_mb' "$build/$name.log" | sed 's/^/    /'
    if [ $code -ne 0 ]; then
        failed="$failed $name"
        grep -aE -A12 '^==|SUMMARY|does not hold|assert|runtime error|Test unit written' "$build/$name.log" | head -60
    fi
done
[ -z "$failed" ] || { echo "FAILED:$failed (inputs in $build/found)"; exit 1; }
echo "no target failed"
