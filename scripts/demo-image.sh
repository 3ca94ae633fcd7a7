#!/bin/sh
# Makes a small image from the distribution's busybox as an OCI layout directory: scripts/demo-image.sh DIR, then
# boxlite run --rm oci:DIR echo hello. Needs python3 and the package busybox-static; no registry, no root.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
case $1 in /*) directory=$1 ;; *) directory=$PWD/$1 ;; esac
cd "$(dirname "$0")/.."
PYTHONPATH=tests/e2e exec "${PYTHON:-/usr/bin/python3}" -m boxlite_testing.oci "$directory"
