#!/bin/sh
# What takes too long for `make test`. Each result is one JSON file below docs/results, to be committed.
#
#   scripts/soak.sh [BOOTS]        tests with data of full size; 100 cold boots while busy loops load every core
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-/usr/bin/python3}
today=$(date -u +%Y-%m-%d)
"$python" scripts/soak_full_size.py "docs/results/$today-full-size.json"
exec "$python" scripts/soak_cold_boot.py "${1:-100}" "docs/results/$today-cold-boot.json"
