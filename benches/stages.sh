#!/usr/bin/env bash
# Instructions per request of each stage (benches/stages.rs), counted by callgrind: the same on a busy machine as on a quiet one.
#
#   benches/stages.sh [STAGE ...]      all of them without words; `just bench-stages` calls this
#
# Each stage runs twice, with FEW and with MANY requests: (instructions of the longer − of the shorter) ÷ (MANY − FEW), so that
# start-up is in neither. User space only: what the kernel does for a request is not in it. The same twice, but for `exchange` and
# `engine`: what these meet at a time depends on when, which moves them by a hundredth or so. Takes a minute.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
FEW=1000
MANY=5000

command -v valgrind >/dev/null || { echo "valgrind is not here; get it with: apt install valgrind" >&2; exit 2; }
bench=$(nice cargo bench --locked --bench stages --no-run --message-format=json |
    python3 -c 'import json, sys
for line in sys.stdin:
    made = json.loads(line)
    if made.get("target", {}).get("name") == "stages" and made.get("executable"):
        print(made["executable"])')
[ -x "$bench" ] || { echo "cargo made no bench named stages" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# counted STAGE REQUESTS: instructions of a whole run; nothing when they cannot be counted, and $work/log says why.
counted() {
    timeout 120 benches/valgrind.py --tool=callgrind --callgrind-out-file="$work/out" "$bench" "$1" "$2" 2>"$work/log" || return 0
    awk '/^(summary|totals):/ { n = $2 } END { print n }' "$work/out"
}

if [ $# -gt 0 ]; then stages=("$@"); else mapfile -t stages < <("$bench" list); fi
status=0
printf '%-10s %24s\n' stage 'instructions per request'
for stage in "${stages[@]}"; do
    few=$(counted "$stage" $FEW)
    many=
    [ -z "$few" ] || many=$(counted "$stage" $MANY)
    if [ -n "$many" ]; then
        printf '%-10s %24s\n' "$stage" $(((many - few) / (MANY - FEW)))
    elif grep -q 'unhandled .* syscall: 441' "$work/log"; then
        printf '%-10s %24s   (%s knows no epoll_pwait2)\n' "$stage" - "$(valgrind --version)"
    else
        printf '%-10s %24s\n' "$stage" FAILED
        tail -20 "$work/log" >&2
        status=1
    fi
done
exit $status
