#!/bin/sh
# Runs the job on the sample, in one process, and compares what it wrote with expected.jsonl, line by line, in any order.
set -eu
rm -rf test-out
mkdir test-out
"${WEIR:-weir}" run --local "${1:-@NAME@.so}" --input input.jsonl --output test-out
cat test-out/@RESULT@/part-* | LC_ALL=C sort > test-out/actual.jsonl
LC_ALL=C sort expected.jsonl | diff -u - test-out/actual.jsonl
test "$(cat test-out/bad/part-* | wc -l)" -eq 1 # the one line of the sample that is not as declared
echo "ok: $(wc -l < test-out/actual.jsonl) lines as expected"
