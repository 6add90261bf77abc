#!/usr/bin/env bash
# Nothing lost and nothing sent twice: what servers counted is exactly what was sent.
# resbench and wrk each send a modest rate to nginx, which ends every connection after 50 requests, and to the model
# server. wrk stands beside it to show that the servers' counts can be trusted.
#
# needs: python3, curl; Debian's wrk and nginx-light (apt: 4 MB where they are missing)
# costs: 20 s; at most 500 requests/s on loopback
. tests/real/lib.sh

need_program python3 python3
need_program curl curl
need_program wrk wrk
PATH=$PATH:/usr/sbin # where Debian keeps nginx, for everyone
need_program nginx nginx-light

started=()
trap 'kill "${started[@]}" 2>/dev/null || true' EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
wait_for() {
    for _ in $(seq 100); do
        curl -sf -o /dev/null "$1" && return
        sleep 0.1
    done
    fail "$1 does not answer"
}

port=$(free_port)
cat >"$WORK/nginx.conf" <<END
daemon off;
worker_processes 1;
pid $WORK/nginx.pid;
error_log $WORK/error.log;
events { worker_connections 512; }
http {
    log_format count '\$status \$connection \$request_uri';
    access_log $WORK/access.log count;
    client_body_temp_path $WORK/b; proxy_temp_path $WORK/p; fastcgi_temp_path $WORK/f; uwsgi_temp_path $WORK/u; scgi_temp_path $WORK/s;
    keepalive_requests 50;
    server {
        listen 127.0.0.1:$port;
        default_type application/json;
        location /count/ { return 200 '{"predictions": [0], "padding": "to be 64 bytes long ...... "}'; }
        location /ready { access_log off; return 200 'yes'; }
    }
}
END
nginx -p "$WORK" -c "$WORK/nginx.conf" 2>"$WORK/nginx.log" &
started+=($!)
wait_for "http://127.0.0.1:$port/ready"
nginx_url=http://127.0.0.1:$port/count

port=$(free_port)
"$RESBENCH" model-server --listen "127.0.0.1:$port" >"$WORK/model-server.log" 2>&1 &
started+=($!)
wait_for "http://127.0.0.1:$port/ping"
model_url=http://127.0.0.1:$port

# wrk waits for its answer and then some: 4 connections with 10 ms between requests are at most 400/s.
cat >"$WORK/modest.lua" <<'END'
wrk.method, wrk.body = "POST", '{"dataframe_split":{"columns":["amount"],"data":[[14.05]]}}'
wrk.headers["Content-Type"] = "application/json"
function delay() return 10 end
END

# requests_of_wrk URL · requests_of_resbench NAME URL: how many they say that they made.
requests_of_wrk() {
    wrk -t1 -c4 -d3s -s "$WORK/modest.lua" "$1" >"$WORK/wrk.txt"
    grep -Eo '^ *[0-9]+ requests in' "$WORK/wrk.txt" | grep -o '[0-9]*'
}
requests_of_resbench() {
    local status=0
    PEER_URL=$2 "$RESBENCH" run tests/real/peers.toml --yes --quiet --reports "$WORK/$1" >"$WORK/$1.txt" 2>&1 || status=$?
    [ $status = 0 ] || [ $status = 3 ] || { cat "$WORK/$1.txt" >&2; fail "$1: exit code $status"; }
    python3 - "$(run_dir "$WORK/$1")/run.json" <<'END'
import json, sys
run = json.load(open(sys.argv[1]))
(phase,) = run["phases"]
assert phase["planned"] == phase["ok"] == phase["sent"] > 900, phase
print(phase["sent"], file=sys.stdout)
END
}
# nginx writes its log when the answer has gone out; the model server counts before.
count_of_nginx() { grep -c "^200 [0-9]* /count/$1\$" "$WORK/access.log" || true; }
count_of_model_server() { curl -sf "$model_url/metrics" | awk '/^model_server_requests_total/ { n += $NF } END { print n + 0 }'; }

# Before the load resbench sends one request to find out whether anybody answers; it is no part of the run's counts.
REACH=1

said=$(requests_of_wrk "$nginx_url/wrk")
sleep 0.2
counted=$(count_of_nginx wrk)
[ "$said" -le "$counted" ] && [ "$counted" -le $((said + 4)) ] || fail "wrk says $said, nginx counted $counted"
ok "wrk → nginx: wrk says $said, nginx counted $counted (4 connections may be cut at the end)"

said=$(requests_of_resbench nginx "$nginx_url/resbench")
sleep 0.2
counted=$(count_of_nginx resbench)
[ "$counted" = $((said + REACH)) ] || fail "resbench says $said and $REACH to find out, nginx counted $counted"
connections=$(awk '$3 == "/count/resbench" { print $2 }' "$WORK/access.log" | sort -u | wc -l)
[ "$connections" -ge $((said / 50)) ] || fail "$connections connections for $said requests: nginx did not end them after 50"
ok "resbench → nginx: sent $said (and $REACH to find out), counted $counted, over $connections connections"

before=$(count_of_model_server)
said=$(requests_of_wrk "$model_url/invocations")
counted=$(($(count_of_model_server) - before))
[ "$said" -le "$counted" ] && [ "$counted" -le $((said + 4)) ] || fail "wrk says $said, the model server counted $counted"
ok "wrk → model server: wrk says $said, counted $counted (4 connections may be cut at the end)"

before=$(count_of_model_server)
said=$(requests_of_resbench model-server "$model_url/invocations")
counted=$(($(count_of_model_server) - before))
[ "$counted" = $((said + REACH)) ] || fail "resbench says $said and $REACH to find out, the model server counted $counted"
ok "resbench → model server: sent $said (and $REACH to find out), counted $counted"
