#!/usr/bin/env bash
# Real MLServers (Open Inference v2) under pod-kill, every prediction checked; then the same in batches of 32-bit floats.
# MLServer does not speak the binary tensor extension over REST: it answers 422 to it. That form has the embedded server as its peer.
#
# needs: python3 with venv; pip packages mlserver and mlserver-sklearn (target/venv-mlserver, 700 MB)
# costs: 3 minutes, and 3 more the first time; two MLServers on loopback at 40 requests/s, 600 MB of memory
. tests/real/lib.sh

need_program python3 python3-venv
venv mlserver tests/mlserver/requirements.txt
PATH=$(dirname "$PYTHON"):$PATH
export MLSERVER_MODEL=$WORK/model

say "training"
python3 tests/mlserver/train.py scenarios/data/fraud.csv "$MLSERVER_MODEL" >"$WORK/model.json" 2>"$WORK/train.log" ||
    { cat "$WORK/train.log"; fail "train.py"; }
say "trained: $(cat "$WORK/model.json")"

# run NAME ARGUMENTS: a run, whose numbers must fit what scikit-learn says of its model.
run() {
    local name=$1 status=0
    shift
    say "$name"
    "$RESBENCH" run tests/mlserver/pod-kill.toml --reports "$WORK/$name" "$@" >"$WORK/$name.txt" 2>"$WORK/$name-progress.txt" || status=$?
    case $status in
    0) say "exit code 0: every objective met, as the scenario promises" ;;
    1) say "exit code 1: this machine was too slow for an objective: $(sed -n 2p "$WORK/$name.txt")" ;;
    3) say "exit code 3: not decided: $(sed -n 2p "$WORK/$name.txt")" ;;
    *) cat "$WORK/$name-progress.txt" "$WORK/$name.txt"; fail "exit code $status: the run itself did not work" ;;
    esac
    python3 tests/python/check_mlserver.py "$(run_dir "$WORK/$name")" "$WORK/model.json" "$status"
}

run pod-kill
run batches --set traffic.batch=8 --set phase.baseline.duration=4s --set phase.fault.duration=4s \
    --set phase.recovery.duration=2s --set 'target.datatype=FP32'
