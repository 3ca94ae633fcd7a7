#!/bin/sh
# Every test there is, in order of cost; all of them run even if one fails, and the last lines are the runners' own summaries.
#
#   scripts/test.sh        needs a finished build (make test does that)
#
# The end-to-end suite runs as root and as the ordinary user boxlite-test (made on first use); who is not root runs it as himself.
set -u
cd "$(dirname "$0")/.."
python=${PYTHON:-/usr/bin/python3}
failed=

run() {
    name=$1
    shift
    echo "== $name"
    started=$(date +%s)
    "$@" || failed="$failed $name;"
    echo "== $name: $(($(date +%s) - started)) s"
}

run "unit tests" ctest --test-dir build/dev --output-on-failure -j "$(nproc)"
if [ "$(id -u)" -eq 0 ]; then
    run "end-to-end as root" env -u BOXLITE_TEST_USER "$python" -m pytest tests -q -rsxX
    run "end-to-end as boxlite-test" env BOXLITE_TEST_USER=boxlite-test "$python" -m pytest tests -q -rsxX
else
    run "end-to-end as $(id -un)" "$python" -m pytest tests -q -rsxX
fi

if [ -n "$failed" ]; then
    echo "failed:$failed" >&2
    exit 1
fi
