#!/bin/sh
# Builds the guest kernel from the distribution's kernel source package and guest/kernel/fragment.config.
#
#   guest/kernel/build.sh OUTPUT        OUTPUT: where the stripped vmlinux goes
#
# A build takes ten minutes, so the result is cached outside the tree under the hash of everything that goes into it:
# the source archive, the fragment, this script and the compiler. Same inputs, same kernel, no build.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
output=${1:?usage: build.sh OUTPUT}
source=${BOXLITE_KERNEL_SOURCE:-/usr/src/linux-source-6.1.tar.xz}
cache=${BOXLITE_KERNEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/boxlite/kernel}

if [ ! -f "$source" ]; then
    echo "guest kernel: $source is missing; install it with: apt-get install linux-source-6.1" >&2
    exit 1
fi

key=$( { sha256sum <"$source"; sha256sum <"$here/fragment.config"; sha256sum <"$here/build.sh"; gcc --version | head -n 1; } |
    sha256sum | cut -c1-32)
cached=$cache/$key/vmlinux

if [ ! -f "$cached" ]; then
    echo "guest kernel: not in the cache ($cached), building: about ten minutes on two cores" >&2
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' INT TERM HUP
    tar -xf "$source" -C "$work" --strip-components=1
    (
        cd "$work"
        # The build identity is fixed: the same inputs give the same bytes on any machine.
        export KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=boxlite KBUILD_BUILD_HOST=boxlite
        make -s allnoconfig
        ./scripts/kconfig/merge_config.sh -m .config "$here/fragment.config" >/dev/null
        make -s olddefconfig
        # A fragment line that Kconfig dropped is a feature that silently vanished: fail instead.
        missing=$(grep -E '^CONFIG_[A-Z0-9_]+=' "$here/fragment.config" | grep -v '=n$' | grep -vxFf .config || true)
        if [ -n "$missing" ]; then
            echo "guest kernel: these lines of fragment.config did not take effect:" >&2
            echo "$missing" >&2
            exit 1
        fi
        make -s -j"$(nproc)" vmlinux
        strip -s -o vmlinux.stripped vmlinux
    )
    mkdir -p "$work/done"
    mv "$work/vmlinux.stripped" "$work/done/vmlinux"
    mv "$work/.config" "$work/done/config"
    mv -T "$work/done" "$cache/$key" 2>/dev/null || [ -f "$cached" ]   # another build of the same key may have won
fi

mkdir -p "$(dirname "$output")"
cp -f "$cached" "$output.tmp"
chmod 0644 "$output.tmp"
mv -f "$output.tmp" "$output"
echo "guest kernel: $output (cache key $key)" >&2
