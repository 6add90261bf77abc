#!/usr/bin/env bash
# A real MLflow registry whose alias is moved, damaged and lost under traffic; then kill -9 of resbench in mid-fault.
# Replicas follow the alias and verify what they get. However resbench ends, MLflow itself must say afterwards that the
# alias points where it pointed before.
#
# needs: python3 with venv; pip packages mlflow and scikit-learn (target/venv-mlflow, 900 MB)
# costs: 2 minutes, and 4 more the first time; an MLflow server with SQLite and local artifacts on loopback, 1 GB of memory
. tests/real/lib.sh

need_program python3 python3-venv
venv mlflow tests/mlflow/requirements.txt
PATH=$(dirname "$PYTHON"):$(dirname "$RESBENCH"):$PATH
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true

port=$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export REGISTRY=http://127.0.0.1:$port
say "starting an MLflow server at $REGISTRY"
setsid mlflow server --backend-store-uri "sqlite:///$WORK/mlflow.db" --artifacts-destination "$WORK/artifacts" \
    --host 127.0.0.1 --port "$port" --workers 1 >"$WORK/mlflow.log" 2>&1 &
server=$!
trap 'kill -TERM -- -$server 2>/dev/null; wait $server 2>/dev/null' EXIT
for _ in $(seq 240); do
    "$PYTHON" -c "import urllib.request as u; u.urlopen('$REGISTRY/health', timeout=2)" 2>/dev/null && break
    kill -0 $server 2>/dev/null || { tail -5 "$WORK/mlflow.log"; fail "the MLflow server ended"; }
    sleep 0.5
done
"$PYTHON" tests/mlflow/register.py "$REGISTRY" scenarios || fail "register.py"

# points: where MLflow's own client finds the alias.
points() {
    "$PYTHON" - <<PYTHON
from mlflow.tracking import MlflowClient
model = MlflowClient("$REGISTRY", "$REGISTRY").get_registered_model("fraud")
print(model.aliases.get("champion", "missing"))
PYTHON
}
[ "$(points)" = 1 ] || fail "champion should be version 1 before"

status=0
"$RESBENCH" run tests/mlflow/registry.toml --reports "$WORK/reports" >"$WORK/out.txt" 2>"$WORK/progress.txt" || status=$?
case $status in
0 | 3) say "exit code $status: $(head -2 "$WORK/out.txt" | tr '\n' ' ')" ;;
*) cat "$WORK/progress.txt" "$WORK/out.txt"; fail "exit code $status" ;;
esac
"$PYTHON" tests/python/check_registry.py "$(run_dir "$WORK/reports")" "$status"
[ "$(points)" = 1 ] || fail "after the run champion is $(points)"
ok "MLflow says: champion is version 1 again"

for fault in promote lose-alias; do
    say "kill -9 of resbench while $fault is on"
    : >"$WORK/killed-progress.txt"
    "$RESBENCH" run tests/mlflow/registry.toml --reports "$WORK/killed-$fault" --set "fault.$fault.for=9s" \
        >"$WORK/killed.txt" 2>"$WORK/killed-progress.txt" &
    resbench=$!
    for _ in $(seq 400); do
        grep -q "$fault (registry-alias) is on" "$WORK/killed-progress.txt" && break
        kill -0 $resbench 2>/dev/null || break
        sleep 0.2
    done
    during=$(points)
    kill -9 $resbench
    wait $resbench 2>/dev/null || true
    [ "$during" != 1 ] || { cat "$WORK/killed-progress.txt"; fail "the alias was not moved before the kill"; }
    for second in $(seq 15); do
        [ "$(points)" = 1 ] && break
        sleep 1
    done
    [ "$(points)" = 1 ] || fail "15 s after kill -9 champion is $(points)"
    ok "champion was $during when resbench was killed, and is version 1 again after it"
    status=0
    "$RESBENCH" revert --yes >"$WORK/revert.txt" 2>&1 || status=$?
    [ $status = 0 ] || { cat "$WORK/revert.txt"; fail "\`revert\` exits $status after the watchdog did its work"; }
done

say "a model that is not there is refused"
status=0
"$RESBENCH" run tests/mlflow/registry.toml --reports "$WORK/refused" --set fault.promote.model=fruad \
    >"$WORK/refused.txt" 2>&1 || status=$?
[ $status = 5 ] && grep -q 'has no registered model' "$WORK/refused.txt" || { cat "$WORK/refused.txt"; fail "exit code $status"; }
ok "refused: $(grep -m1 -o 'no registered model.*' "$WORK/refused.txt")"
