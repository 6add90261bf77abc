#!/usr/bin/env bash
# A throw-away PostgreSQL with a database `mlflow` of a user `mlflow`, on loopback, as long as this script runs.
#
# usage: postgres.sh HOST PORT
# As root it runs as `nobody`, since PostgreSQL refuses root. No password: who reaches the port is let in.
set -euo pipefail
host=$1 port=$2
bin=$(dirname "$(ls -d /usr/lib/postgresql/*/bin/postgres | sort -V | tail -1)")
# In memory where that can be had: a thousand files are gone at once there, and who stops this script gives it two seconds.
place=/dev/shm
[ -w $place ] && [ "$(df --output=avail -k $place | tail -1)" -gt 300000 ] || place=${TMPDIR:-/tmp}
data=$(mktemp -d "$place/resbench-postgres.XXXXXX")
server=
stop() {
    trap '' TERM INT # whoever stops this may say so twice, and to `rm` as well
    # SIGQUIT is its immediate shutdown: nothing here is to be kept. The folder is nobody else's.
    [ -z "$server" ] || { kill -QUIT "$server" 2>/dev/null && wait "$server" 2>/dev/null; } || true
    rm -rf "$data"
}
trap stop EXIT
trap 'exit 0' TERM INT
as=()
if [ "$(id -u)" = 0 ]; then
    as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    chown 65534:65534 "$data"
fi
cd "$data"
"${as[@]}" "$bin/initdb" -D "$data/db" -U mlflow -A trust --no-sync >initdb.log 2>&1 || { cat initdb.log >&2; exit 1; }
# The first start makes the database, on a socket only: who connects by TCP finds it made.
echo 'CREATE DATABASE mlflow;' | "${as[@]}" "$bin/postgres" --single -D "$data/db" postgres >single.log 2>&1 || { cat single.log >&2; exit 1; }
"${as[@]}" "$bin/postgres" -D "$data/db" -h "$host" -p "$port" -k "$data" -c fsync=off &
server=$!
wait "$server"
