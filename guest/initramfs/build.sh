#!/bin/sh
# Writes an initramfs that holds one file: /init.
#
#   guest/initramfs/build.sh AGENT OUTPUT
#
# The format is cpio's "newc" (https://docs.kernel.org/driver-api/early-userspace/buffer-format.html), uncompressed: unpacking
# costs the guest more than the host reading a few more pages. Owner 0:0, time 0: the same agent gives the same bytes.
set -eu

agent=${1:?usage: build.sh AGENT OUTPUT}
output=${2:?usage: build.sh AGENT OUTPUT}

# header INODE MODE LINKS SIZE NAME: the entry's header and name, padded to four bytes
header() {
    printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\0' \
        "$1" "$2" 0 0 "$3" 0 "$4" 0 0 0 0 "$((${#5} + 1))" 0 "$5"
    pad $((110 + ${#5} + 1))
}

pad() {
    head -c "$(((4 - $1 % 4) % 4))" /dev/zero
}

mkdir -p "$(dirname "$output")"
size=$(stat -L -c %s "$agent")
{
    header 1 "$((0100755))" 1 "$size" init
    cat "$agent"
    pad "$size"
    header 0 0 1 0 'TRAILER!!!'
} >"$output.tmp"
mv -f "$output.tmp" "$output"
