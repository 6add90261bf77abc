#!/usr/bin/env bash
# A run's files read by other people's programs: all must tell the same numbers.
# latency.hlog by HdrHistogram's Python package, run.json by `jsonschema`; the CSV files, junit.xml, SVG and PNG by
# Python's own library; and `report` writes the same bytes again.
#
# needs: python3 with venv; pip packages hdrhistogram and jsonschema (target/venv-python, 20 MB)
# costs: 25 s, and 20 s more the first time; three model servers on loopback at 500 requests/s
. tests/real/lib.sh

need_program python3 python3-venv
venv python tests/python/requirements.txt

say "a pod-kill run of 17 s"
status=0
"$RESBENCH" run scenarios/pod-kill.toml --quiet --reports "$WORK/reports" \
    --set phase.warm-up.duration=2s --set phase.baseline.duration=5s \
    --set phase.fault.duration=5s --set phase.recovery.duration=5s >"$WORK/out.txt" || status=$?
case $status in
0 | 1 | 3) say "exit code $status" ;;
*) cat "$WORK/out.txt"; fail "exit code $status: the run itself did not work" ;;
esac
RUN=$(run_dir "$WORK/reports")

"$RESBENCH" schema run >"$WORK/run.schema.json"
"$PYTHON" tests/python/check_files.py "$RUN" "$WORK/run.schema.json" "$status"

(cd "$RUN" && find . -type f -exec sha256sum {} + | sort -k2) >"$WORK/before.txt"
"$RESBENCH" report "$RUN" >/dev/null || [ $? = "$status" ] || fail "\`report\` exits with another code than the run"
(cd "$RUN" && find . -type f -exec sha256sum {} + | sort -k2) >"$WORK/after.txt"
diff "$WORK/before.txt" "$WORK/after.txt" || fail "\`report\` did not write the same bytes again"
ok "\`report\` writes the same bytes again"
