#!/bin/sh
# Builds the fuzzers and runs each for some seconds; ends with a line for each.
#
#   scripts/fuzz.sh [SECONDS]        for each fuzzer; 600 without. What is found lands in build/fuzz/found, and the exit status is 1
#
# Inputs that reach new code are kept in build/fuzz/corpus; those in fuzz/corpus are seeds and what once crashed. To run one again:
# build/fuzz/bin/NAME_fuzz FILE.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-600}

cmake -S . -B build/fuzz -G Ninja -DCMAKE_CXX_COMPILER=clang++-19 -DBOXLITE_FUZZ=ON -DCMAKE_UNITY_BUILD=ON >/dev/null
cmake --build build/fuzz --target portal_fuzz tar_fuzz volume_fuzz net_fuzz image_fuzz box_archive_fuzz -j "$(nproc)" >build/fuzz/build.log 2>&1 ||
    { cat build/fuzz/build.log >&2; exit 1; }

mkdir -p build/fuzz/found
rm -f build/fuzz/*.result
run() {
    name=$1
    length=$2
    mkdir -p "build/fuzz/corpus/$name" "fuzz/corpus/$name"
    log=build/fuzz/$name.log
    if "build/fuzz/bin/${name}_fuzz" -max_len="$length" -max_total_time="$seconds" -artifact_prefix="build/fuzz/found/$name-" \
        -print_final_stats=1 -verbosity=0 "build/fuzz/corpus/$name" "fuzz/corpus/$name" >"$log" 2>&1; then
        count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        echo "fuzz: $name: $count inputs in $seconds s, nothing found"
    else
        tail -n 40 "$log" >&2
        echo "fuzz: $name: FAILED, see $log and build/fuzz/found"
    fi >"build/fuzz/$name.result"
}
# Two at a time, each for the same time.
run portal 4096 & run tar 16384 & wait
run volume 2048 & run net 2048 & wait
run image 8192 & run box_archive 32768 & wait
cat build/fuzz/*.result
! grep -q FAILED build/fuzz/*.result
