# `just` lists what there is; each recipe is one command that can be typed by hand as well.

set positional-arguments

# show this list
_default:
    @just --list --unsorted

# what CI runs, all of it
ci:
    bash .ci/run

# every test, or the groups named: just test unit e2e (groups: just test --list)
test *groups:
    tests/run.sh "$@"

# format and clippy, as CI sees them
lint:
    cargo fmt --check
    cargo clippy --all-targets --locked -- -D warnings

# the documentation of the code, without warnings
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

# decisions proven by simulation: which way to compare runs is right how often, then 1,000 nights of a gate (2 min)
prove:
    cargo test --release --locked --test prove -- --ignored --nocapture --test-threads 1

# every shipped scenario in full, one after another (4 min); exit codes are shown
scenarios: _release
    for file in scenarios/*.toml; do target/release/resbench run "$file" --quiet; echo "exit code $?"; done

# every shipped scenario, shortened, and what it leaves checked: as CI does (2 min)
smoke: _release
    python3 tests/smoke.py target/release/resbench

# ns per request of schedule, dispatch, record, answer: just bench, just bench schedule
bench *filter:
    cargo bench --bench hot_path -- "$@"

# instructions per request of every stage, by callgrind: the same on a busy machine (1 min; needs valgrind)
bench-stages *stages:
    benches/stages.sh "$@"

# resbench beside wrk, wrk2, oha, hey, h2load, k6 and a bare loop: just bench-peers [rounds] [seconds] [--only closed-64,open …] (20 min; needs nginx)
bench-peers *args: _release
    python3 benches/peers/run.py target/release/resbench "$@"

# where the CPU of a request at 20,000/s goes, and its system calls at full pace, beside bare loops on epoll and io_uring: just bench-where [seconds] [rate] (2 min; needs nginx, perf, root)
bench-where *args: _release
    python3 benches/peers/where.py target/release/resbench "$@"

# what rows, labels and altered twins cost beside one fixed body: just bench-bodies [rounds] [seconds] (4 min; needs nginx)
bench-bodies *args: _release
    python3 benches/peers/bodies.py target/release/resbench "$@"

# 10 minutes at 20,000/s: memory and lag flat, counts exact, no drift: just soak [seconds] [rate] (needs nginx)
soak *args: _release
    python3 benches/peers/soak.py target/release/resbench "$@"

# fuzz the scenario parser and the readers of answers for so many seconds each (stable Rust will do; needs cargo-fuzz)
fuzz seconds="60":
    cd tests/fuzz && for target in scenario answer http2 sse; do \
        RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir . $target corpus/$target -- -max_total_time={{seconds}} -max_len=4096; done

# the picture in the README: runs pod-kill and photographs its report (57 s; needs chromium)
screenshot: _release
    #!/usr/bin/env bash
    set -euo pipefail
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    target/release/resbench run scenarios/pod-kill.toml --quiet --reports "$dir"
    page=$(echo "$dir"/pod-kill/*/report.html)
    chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --force-device-scale-factor=1.5 \
        --window-size=1200,2500 --screenshot="$PWD/reports/pod-kill.png" "file://$page"

_release:
    cargo build --release --locked
