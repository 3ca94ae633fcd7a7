#!/bin/sh
# What takes too long for `make test`. Each result is one JSON file below docs/results, to be committed.
#
#   scripts/soak.sh        every end-to-end test in both modes, going on from templates and booting; tests with data of full size; 100 starts that boot and 200 that restore while busy loops load every core;
#                          1,000 boxes one after the other; five hours of chaos
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-/usr/bin/python3}
today=$(date -u +%Y-%m-%d)
"$python" -m pytest tests/e2e -q -rsxX
BOXLITE_TEST_COLD=all "$python" -m pytest tests/e2e -q -rsxX
"$python" scripts/soak_full_size.py "docs/results/$today-full-size.json"
"$python" scripts/soak_starts.py booted 100 "docs/results/$today-starts-booted.json"
"$python" scripts/soak_starts.py restored 200 "docs/results/$today-starts-restored.json"
"$python" scripts/soak_cycles.py 1000 "docs/results/$today-cycles.json"
exec "$python" scripts/soak_chaos.py 5 3600 "docs/results/$today-chaos.json"
