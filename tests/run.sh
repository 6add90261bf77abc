#!/usr/bin/env bash
# Runs every test of resbench, installing what is missing; or the groups that are named.
#
#   tests/run.sh                 all groups, in order
#   tests/run.sh unit e2e        these
#   tests/run.sh --list          what each group needs and costs
#
# Two groups are Rust's own. Every executable tests/real/NN-name.sh is one more, named `name`: it runs from the root with
# RESBENCH set to the release binary, and exits 0 (passed), 77 (skipped: something cannot be had here) or else (failed).
# Ends with one line per group; exit code 0 when none failed, 2 for wrong usage. A skipped group is loud and does not fail.
# Needs a Rust toolchain, Python and apt; what else a group needs is installed by apt (as root) and pip (into target/).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C.UTF-8

PASSED=() FAILED=() SKIPPED=()
bold() { if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then printf '\033[1m%s\033[0m\n' "$*"; else printf '%s\n' "$*"; fi; }
loud() { bold "!!! $*"; }

# name<TAB>file of every group beside the cargo ones.
real_groups() {
    local file
    for file in tests/real/*.sh; do
        [ -x "$file" ] || continue
        printf '%s\t%s\n' "$(basename "$file" .sh | sed 's/^[0-9]*-//')" "$file"
    done
}

header() { sed -n "s/^# $2: *//p" "$1" | head -1; }

list() {
    printf '%-12s %s\n' unit "the library and the programs inside it"
    printf '%-12s   needs: cargo, a C compiler; /dev/fuse for the tests of IO faults (they say so where they cannot run)\n' ''
    printf '%-12s   costs: 3 min with the first build of everything, then 1 min; loopback only\n' ''
    printf '%-12s %s\n' e2e "the command line, scenarios and whole runs, against real processes"
    printf '%-12s   needs: as unit\n' ''
    printf '%-12s   costs: some minutes; local model servers under load and faults\n' ''
    while IFS=$'\t' read -r name file; do
        printf '%-12s %s\n' "$name" "$(sed -n '2s/^# //p' "$file")"
        printf '%-12s   needs: %s\n' '' "$(header "$file" needs)"
        printf '%-12s   costs: %s\n' '' "$(header "$file" costs)"
    done < <(real_groups)
}

usage() { sed -n '2,/^# Needs/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

# apt PACKAGE...: installs Debian packages as root, else says what a person has to type.
apt() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        loud "missing: $*; get it with: sudo apt-get install $*"
        return 1
    fi
    echo "installing $*"
    [ -n "${APT_UPDATED:-}" ] || apt-get update -qq </dev/null || true
    export APT_UPDATED=1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
}

# What follows runs on the left of `||`, where `set -e` does not hold: every step says itself what its failure means.
prepare_cargo() {
    # rustup's folder, when the shell has not read its profile yet.
    command -v cargo >/dev/null || PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    command -v cargo >/dev/null || { loud "cargo is not here; get it from https://rustup.rs"; return 1; }
    command -v cc >/dev/null || apt gcc libc6-dev || return 1
    # Some tests run small Python programs; they say SKIPPED where it is missing.
    command -v python3 >/dev/null || apt python3 || true
}

prepare_real() {
    [ -z "${RESBENCH:-}" ] || return 0
    prepare_cargo || return 1
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt python3 python3-venv || true
    echo "building the release binary"
    cargo build --release --locked --quiet </dev/null || return 1
    RESBENCH=${CARGO_TARGET_DIR:-target}/release/resbench
    export RESBENCH DEBIAN_FRONTEND=noninteractive
}

nft_or_say() {
    command -v nft >/dev/null || [ -x /usr/sbin/nft ] || apt nftables || true
}

fuse_or_say() {
    if [ ! -e /dev/fuse ]; then
        loud "/dev/fuse is not here: tests of IO faults (io-latency, io-error, volume views) SKIP themselves."
        loud "Get it: modprobe fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN"
    elif [ "$(id -u)" != 0 ] && ! command -v fusermount3 >/dev/null; then
        loud "fusermount3 is not here and this is not root: tests of IO faults SKIP themselves. Get it: sudo apt-get install fuse3"
    fi
}

# Tests that skip themselves say SKIPPED on the way, which cargo shows only under `successes:`: the rest of that is left out.
cargo_group() {
    local log status=0
    log=$(mktemp)
    cargo test --locked --no-fail-fast "$@" -- --show-output </dev/null 2>&1 | tee "$log" |
        awk '/^successes:$/ { skip = 1 } /^(failures:|test result:)/ { skip = 0 } !skip && NF' || status=$?
    grep -a SKIPPED "$log" | sort -u | while read -r line; do loud "$line"; done || true
    rm -f "$log"
    return "$status"
}

# run_group NAME COMMAND...
run_group() {
    local name=$1 status=0 began=$SECONDS
    shift
    bold "=== $name"
    "$@" || status=$?
    local took="$((SECONDS - began)) s"
    case $status in
    0) PASSED+=("$name ($took)"); bold "=== $name: PASSED in $took" ;;
    77) SKIPPED+=("$name"); loud "$name: SKIPPED, NOT TESTED" ;;
    *) FAILED+=("$name"); loud "$name: FAILED (exit code $status) after $took" ;;
    esac
}

unit() { prepare_cargo && nft_or_say && fuse_or_say && cargo_group --lib --bins; }
e2e() { prepare_cargo && nft_or_say && fuse_or_say && cargo_group --test '*'; }
real() { prepare_real && "$1" </dev/null; }

declare -A FILE_OF=()
ORDER=(unit e2e)
while IFS=$'\t' read -r name file; do
    FILE_OF[$name]=$file
    ORDER+=("$name")
done < <(real_groups)

chosen=()
for word in "$@"; do
    case $word in
    -h | --help) usage; exit 0 ;;
    -l | --list) list; exit 0 ;;
    unit | e2e) chosen+=("$word") ;;
    *)
        [ -n "${FILE_OF[$word]:-}" ] || { echo "no group \`$word\`; there are: ${ORDER[*]}" >&2; exit 2; }
        chosen+=("$word")
        ;;
    esac
done
[ ${#chosen[@]} -gt 0 ] || chosen=("${ORDER[@]}")

unset RESBENCH # what is tested is what is built here
for name in "${chosen[@]}"; do
    case $name in
    unit | e2e) run_group "$name" "$name" ;;
    *) run_group "$name" real "${FILE_OF[$name]}" ;;
    esac
done

echo
bold "PASSED:  ${PASSED[*]:-none}"
[ ${#SKIPPED[@]} = 0 ] || loud "SKIPPED, NOT TESTED: ${SKIPPED[*]}"
[ ${#FAILED[@]} = 0 ] || { loud "FAILED:  ${FAILED[*]}"; exit 1; }
