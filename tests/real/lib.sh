# What the groups beside this file share. Sourced, never run: a group begins with `. tests/real/lib.sh`.
# shellcheck shell=bash

set -euo pipefail
: "${RESBENCH:?is not set: the path of the binary under test}"
RESBENCH=$(realpath "$RESBENCH")
GROUP=$(basename "$0" .sh)
WORK=$PWD/target/real/$GROUP # what a group leaves to look at
rm -rf "$WORK"
mkdir -p "$WORK"
# A group's runs keep their live journals apart, so that they meet no other run's, and leave none to the user.
export XDG_STATE_HOME=$WORK/state

say() { echo "$GROUP: $*"; }
ok() { say "ok: $*"; }
fail() {
    say "FAILED: $*" >&2
    exit 1
}
skip() {
    say "SKIPPED, NOT TESTED: $*" >&2
    exit 77
}

# need_program PROGRAM PACKAGE: has it, or installs the Debian package as root, or skips the group.
need_program() {
    command -v "$1" >/dev/null && return
    command -v apt-get >/dev/null || skip "\`$1\` is not here, and neither is apt-get to install $2"
    [ "$(id -u)" = 0 ] || skip "\`$1\` is not here; get it with: sudo apt-get install $2"
    say "installing $2"
    local log=$WORK/apt.log
    apt-get install -y -qq --no-install-recommends "$2" >"$log" 2>&1 ||
        { apt-get update -qq >>"$log" 2>&1 && apt-get install -y -qq --no-install-recommends "$2" >>"$log" 2>&1; } ||
        { tail -5 "$log" >&2; skip "apt-get cannot install $2"; }
    command -v "$1" >/dev/null || fail "$2 brings no \`$1\`"
}

# venv NAME REQUIREMENTS: a virtual environment under target/, made once and made anew when its requirements change.
venv() {
    local home=$PWD/target/venv-$1 log=$WORK/pip.log
    if ! cmp -s "$2" "$home/requirements.txt"; then
        say "making target/venv-$1 from $2"
        rm -rf "$home"
        python3 -m venv "$home" 2>"$log" || { tail -3 "$log" >&2; skip "python3 makes no virtual environment (Debian: python3-venv)"; }
        "$home/bin/pip" install -q --disable-pip-version-check -r "$2" >>"$log" 2>&1 ||
            { tail -5 "$log" >&2; skip "pip cannot install $2"; }
        cp "$2" "$home/requirements.txt"
    fi
    PYTHON=$home/bin/python
}

# run_dir DIR: the only run kept under DIR.
run_dir() {
    local runs=("$1"/*/*/run.json)
    [ ${#runs[@]} = 1 ] && [ -f "${runs[0]}" ] || fail "expected one run under $1, found: ${runs[*]}"
    dirname "${runs[0]}"
}
