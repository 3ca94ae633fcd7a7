#!/bin/sh
# What takes too long for `make test`. Each result is one JSON file below docs/results, to be committed.
#
#   scripts/soak.sh [BOOTS]        100 cold boots while busy loops load every core; before that exec's tests at full size
set -eu
cd "$(dirname "$0")/.."
BOXLITE_FULL_SIZE=1 "${PYTHON:-/usr/bin/python3}" -m pytest -q tests/e2e/test_exec_limits.py -k much_goes
exec "${PYTHON:-/usr/bin/python3}" scripts/soak_cold_boot.py "${1:-100}" "docs/results/$(date -u +%Y-%m-%d)-cold-boot.json"
