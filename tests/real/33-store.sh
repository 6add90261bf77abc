#!/usr/bin/env bash
# A real MLflow with PostgreSQL as its database and an S3 store for its artifacts, both behind links: late, and cut off, under traffic.
#
# needs: python3 with venv; pip packages of tests/mlflow/requirements.txt (target/venv-mlflow); Debian's postgresql
# costs: 1.5 minutes, and 4 more the first time; PostgreSQL, moto and MLflow on loopback, 1 GB of memory
. tests/real/lib.sh

need_program python3 python3-venv
need_program setpriv util-linux
if [ -z "$(ls /usr/lib/postgresql/*/bin/postgres 2>/dev/null)" ]; then
    # Its package would make a server of the machine's own, and start it.
    conf=/etc/postgresql-common/createcluster.conf
    [ "$(id -u)" != 0 ] || [ -e $conf ] || { mkdir -p "${conf%/*}" && echo 'create_main_cluster = false' >$conf; }
    need_program pg_lsclusters postgresql
fi
venv mlflow tests/mlflow/requirements.txt
PATH=$(dirname "$PYTHON"):$PATH
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true

folders() { { find /dev/shm "${TMPDIR:-/tmp}" -maxdepth 1 -name 'resbench-postgres.*' 2>/dev/null || true; } | sort; }
before=$(folders)
status=0
timeout 300 "$RESBENCH" run tests/mlflow/store.toml --reports "$WORK/reports" >"$WORK/out.txt" 2>"$WORK/progress.txt" || status=$?
case $status in
0 | 3) say "exit code $status: $(head -2 "$WORK/out.txt" | tr '\n' ' ')" ;;
*) cat "$WORK/progress.txt" "$WORK/out.txt"; tail -n 5 "$WORK"/reports/*/*/logs/*.log; fail "exit code $status" ;;
esac
"$PYTHON" tests/python/check_store.py "$(run_dir "$WORK/reports")" "$status"
[ "$(folders)" = "$before" ] || fail "left of PostgreSQL: $(folders)"
ok "nothing is left of PostgreSQL"
