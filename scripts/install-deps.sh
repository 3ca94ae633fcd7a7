#!/bin/sh
# Installs what boxlite needs on Debian 12, from the distribution's packages only.
#
#   scripts/install-deps.sh [build] [run] [test]        without arguments: all three sets
#
# Safe to repeat: what is there already is found with dpkg-query and nothing is fetched. Asks no question and reads no stdin.
# Needs root, or a user with sudo.
set -eu

build="g++ make cmake ninja-build ccache pkg-config git
    libcli11-dev nlohmann-json3-dev libfmt-dev libsqlite3-dev libcurl4-openssl-dev libarchive-dev libzstd-dev zlib1g-dev
    libext2fs-dev libssl-dev libslirp-dev libseccomp-dev libprotobuf-dev protobuf-compiler libboost1.81-dev libgtest-dev libgmock-dev
    linux-source-6.1 flex bison bc libelf-dev cpio xz-utils lz4 binutils"
run="qemu-system-x86 qemu-utils bubblewrap ca-certificates libslirp0 libseccomp2"
test="docker-registry skopeo umoci podman passt runc crun runsc mmdebstrap busybox-static python3 python3-pytest python3-protobuf e2fsprogs sqlite3
    python3-jwt openssl openssh-client time apache2-utils strace zstd xz-utils attr tmux iproute2 procps util-linux curl bindfs dnsmasq-base python3-dnspython clang-19 libclang-rt-19-dev clang-format-19 clang-tidy-19"

wanted=
for set in "${@:-all}"; do
    case $set in
        build) wanted="$wanted $build" ;;
        run) wanted="$wanted $run" ;;
        test) wanted="$wanted $test" ;;
        all) wanted="$build $run $test" ;;
        *) echo "install-deps: no set named '$set'; there are build, run and test" >&2; exit 2 ;;
    esac
done

missing=
for package in $wanted; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || status=
    [ "$status" = installed ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
    echo "install-deps: everything is installed" >&2
    exit 0
fi
echo "install-deps: installing$missing" >&2

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install-deps: not root and no sudo; as root run: apt-get install$missing" >&2
        exit 1
    fi
    as_root="sudo -n"
    # Ask for the password once, if there is somebody to ask.
    $as_root true 2>/dev/null || as_root=sudo
fi

# A mirror that answers slowly or is being updated is not our failure: try again. `update` reports one broken source of several
# as a failure too; whether the packages can be had is decided by `install`.
apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@" </dev/null
}
for attempt in 1 2 3; do
    apt update >/dev/null || echo "install-deps: apt-get update complained; going on" >&2
    # shellcheck disable=SC2086  # a list of words
    if apt install --no-install-recommends $missing; then
        echo "install-deps: done" >&2
        exit 0
    fi
    echo "install-deps: attempt $attempt failed" >&2
done
echo "install-deps: cannot install:$missing" >&2
exit 1
