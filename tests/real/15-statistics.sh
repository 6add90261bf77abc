#!/usr/bin/env bash
# Our statistics give the numbers of scipy, numpy and Apache Otava, for random inputs.
# Distributions, signed ranks, signs, rank sums, log-rank, shares, many p values, quantiles of buckets, change points of histories.
#
# needs: cargo; python3 with venv; pip packages scipy, numpy and apache-otava (target/venv-statistics, 330 MB)
# costs: 20 s, and 1 min more the first time, beside a build of the tests; no network
. tests/real/lib.sh

need_program python3 python3-venv
command -v cargo >/dev/null || skip "\`cargo\` is not here"
venv statistics tests/python/statistics.txt

RESBENCH_NUMBERS=$WORK/numbers.json cargo test --locked --quiet --test prove -- --ignored --exact numbers_for_python >"$WORK/cargo.txt" 2>&1 ||
    { tail -20 "$WORK/cargo.txt" >&2; fail "the numbers could not be made"; }
"$PYTHON" tests/python/check_statistics.py "$WORK/numbers.json"
ok "resbench, scipy and Otava agree"
