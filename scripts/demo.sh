#!/bin/sh
# The main job, visibly: a box from a bundled image, run, listed, used and removed, each step with a line of explanation.
# Needs a finished build (make demo does that); leaves nothing behind.
set -eu
cd "$(dirname "$0")/.."

work=$(mktemp -d)
export BOXLITE_HOME="$work/home"
PATH=$PWD/build/bin:$PATH
finish() {
    if [ -d "$BOXLITE_HOME" ]; then
        boxes=$(boxlite ls -aq) && [ -z "$boxes" ] || boxlite rm -f $boxes >/dev/null
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
# Prints a command as one would type it, and runs it.
show() {
    printf '$'
    for word; do
        case $word in
            *[!a-zA-Z0-9_./:=-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@"
}

say "A demo image, made here from the distribution's busybox: a plain OCI layout directory, no registry."
scripts/demo-image.sh "$work/demo"
show ls "$work/demo"

say "What this host offers: which accelerator was proven to work, and what the jail around the virtual machine is made of."
show boxlite info

say "run: a micro-VM of its own boots the image; -d returns as soon as the command in it runs."
show boxlite run -d --name hello -e NAME=world "oci:$work/demo" sleep infinity

say "ls: another process, no daemon; that the box runs is taken from a lock that the kernel holds for it."
show boxlite ls

say "exec: a command in the running box. The kernel in there is the box's own, not this host's ($(uname -r))."
show boxlite exec hello uname -a
show boxlite exec hello sh -c 'echo "hello, $NAME" >/root/greeting'

say "Another exec, another process: the same machine, so the file is there."
show boxlite exec hello cat /root/greeting

say "run --rm: a command with its output and its exit status, and nothing left of the box."
show boxlite run --rm "oci:$work/demo" sh -c 'echo "this box has $(nproc) CPU and $(grep -c . /proc/mounts) mounts"'

say "The box is stopped cleanly and started again; its disk is kept."
show boxlite stop -t 1 hello
show boxlite start hello
show boxlite exec hello cat /root/greeting

say "rm -f: no process, port, lock or file of it is left."
show boxlite rm -f hello
show boxlite ls -a
printf '\n'
