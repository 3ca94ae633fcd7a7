#!/bin/sh
# Every test there is, in order of cost; all of them run even if one fails, and the last lines are the runners' own summaries.
#
#   scripts/test.sh        needs a finished build (make test does that)
#
# Started by root, the end-to-end suite runs as root and as the ordinary user boxlite-test (made on first use), side by side: much of
# it is waiting. Who is not root runs it as himself.
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

# Waits for a background process and shows what it has written.
ended() {
    wait "$1"
    code=$?
    cat "$2"
    return $code
}

run "unit tests" ctest --test-dir build/dev --output-on-failure -j "$(nproc)"
run "fuzzers" scripts/fuzz.sh 15
if [ "$(id -u)" -eq 0 ]; then
    echo "== end-to-end as root and as boxlite-test, side by side; as it goes on: build/test-*.log"
    # A shell starts what it does not wait for deaf to Ctrl-C, which tests type.
    # What is dear and the same for both is done by one of the two (identity.py). Root's boxes go on from templates, the user's boot.
    env --default-signal=INT,QUIT -u BOXLITE_TEST_USER BOXLITE_BESIDE_USER=1 BOXLITE_FAULTS=kill9 BOXLITE_CHAOS_SECONDS=180 \
        "$python" -m pytest tests -q -rsxX --durations=40 >build/test-root.log 2>&1 &
    root=$!
    env --default-signal=INT,QUIT BOXLITE_TEST_USER=boxlite-test BOXLITE_TEST_COLD=1 BOXLITE_FAULTS="error ENOSPC" BOXLITE_MANY_BOXES=20 \
        "$python" -m pytest tests -q -rsxX --durations=40 >build/test-boxlite-test.log 2>&1 &
    user=$!
    # Whoever ends the run from outside sees in what was printed where it was.
    seconds=0
    while kill -0 $root 2>/dev/null || kill -0 $user 2>/dev/null; do
        sleep 5
        seconds=$((seconds + 5))
        [ $((seconds % 120)) -ne 0 ] || for log in root boxlite-test; do
            echo "   $seconds s, $log: $(tail -n 1 "build/test-$log.log")"
        done
    done
    run "end-to-end as root" ended $root build/test-root.log
    run "end-to-end as boxlite-test" ended $user build/test-boxlite-test.log
else
    run "end-to-end as $(id -un)" "$python" -m pytest tests -q -rsxX
fi

if [ -n "$failed" ]; then
    echo "failed:$failed" >&2
    exit 1
fi
