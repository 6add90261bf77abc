#!/usr/bin/env bash
# Real MLflow servers under pod-kill, every prediction checked; then kill -9 of resbench.
# A scikit-learn model saved by MLflow, two `mlflow models serve` started by the local platform, one of them killed
# under traffic. Then the other three forms of its scoring protocol, three rows in a body. Whatever way resbench ends, nothing of
# MLflow may be left.
#
# needs: python3 with venv; pip packages mlflow and scikit-learn (target/venv-mlflow, 900 MB)
# costs: 5 minutes, and 4 more the first time; two MLflow servers on loopback at 40 requests/s, 1 GB of memory
. tests/real/lib.sh

need_program python3 python3-venv
venv mlflow tests/mlflow/requirements.txt
PATH=$(dirname "$PYTHON"):$PATH

export MLFLOW_MODEL=$WORK/model MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
say "training"
(cd "$WORK" && python3 "$OLDPWD/tests/mlflow/train.py" "$OLDPWD/scenarios/data/fraud.csv" "$MLFLOW_MODEL") \
    >"$WORK/model.json" 2>"$WORK/train.log" || { cat "$WORK/train.log"; fail "train.py"; }
say "trained: $(cat "$WORK/model.json")"

# Everything that a run starts inherits its environment: this is how its processes are known among all others. A
# process that ended and was not yet waited for (a zombie) has no environment any more.
marked() { grep -lzs "^RESBENCH_TEST_MARK=$1\$" /proc/[0-9]*/environ | grep -o '[0-9]*' || true; }
show() { for pid in "$@"; do tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null && echo "(pid $pid)"; done; }

say "a run of 60 s; MLflow takes 10 to 30 s to start on this kind of machine"
status=0
RESBENCH_TEST_MARK=whole-$$ "$RESBENCH" run tests/mlflow/pod-kill.toml --reports "$WORK/reports" \
    >"$WORK/out.txt" 2>"$WORK/progress.txt" || status=$?
case $status in
0) say "exit code 0: every objective met, as the scenario promises" ;;
1) say "exit code 1: this machine was too slow for an objective: $(sed -n 2p "$WORK/out.txt")" ;;
3) say "exit code 3: not decided: $(sed -n 2p "$WORK/out.txt")" ;;
*) cat "$WORK/progress.txt" "$WORK/out.txt"; fail "exit code $status: the run itself did not work" ;;
esac
left=$(marked "whole-$$")
[ -z "$left" ] || { show $left; fail "the run left processes behind"; }
ok "no process is left of the run"
python3 tests/python/check_mlflow.py "$(run_dir "$WORK/reports")" "$WORK/model.json" "$status"

for form in dataframe_records instances inputs; do
    say "the form $form, three rows in a body, one replica, 4 s of load"
    status=0
    "$RESBENCH" run tests/mlflow/forms.toml --reports "$WORK/form-$form" --set target.form=$form \
        >"$WORK/$form.txt" 2>"$WORK/$form-progress.txt" || status=$?
    [ $status = 0 ] || [ $status = 3 ] || { cat "$WORK/$form-progress.txt" "$WORK/$form.txt"; fail "exit code $status"; }
    python3 tests/python/check_mlflow.py --form "$(run_dir "$WORK/form-$form")" "$WORK/model.json"
done

say "the same, and kill -9 of resbench while the killed replica starts again"
RESBENCH_TEST_MARK=killed-$$ "$RESBENCH" run tests/mlflow/pod-kill.toml --reports "$WORK/killed" \
    --set phase.baseline.duration=3s --set phase.recovery.duration=60s >"$WORK/killed.txt" 2>"$WORK/killed-progress.txt" &
resbench=$!
for _ in $(seq 600); do
    grep -q 'kill-one (pod-kill) is on' "$WORK/killed-progress.txt" && break
    kill -0 $resbench 2>/dev/null || break
    sleep 0.25
done
sleep 2.5 # restart_delay and a bit: the new parent is there, importing, and has no child yet
before=$(marked "killed-$$")
[ "$(echo "$before" | wc -w)" -ge 4 ] || { cat "$WORK/killed-progress.txt"; show $before; fail "expected at least 4 processes before the kill"; }
kill -9 $resbench
wait $resbench 2>/dev/null || true
for second in $(seq 10); do
    left=$(marked "killed-$$")
    [ -z "$left" ] && break
    sleep 1
done
[ -z "$left" ] || { show $left; kill -9 $left; fail "10 s after kill -9 of resbench these were left"; }
ok "kill -9 of resbench: $(echo "$before" | wc -w) processes, none left after $second s"

status=0
"$RESBENCH" revert --yes >"$WORK/revert.txt" 2>&1 || status=$?
cat "$WORK/revert.txt"
[ $status = 0 ] || fail "\`revert\` exits $status after the watchdog did its work"
ok "\`revert\` finds nothing to do or finishes it"
