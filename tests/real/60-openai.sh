#!/usr/bin/env bash
# The official openai client understands our streams, and resbench times and counts them as the server states them.
# openai's Python client against the embedded server (models, whole, streamed); then resbench against the same server: time to
# first token, time between tokens and the number of tokens, the same over HTTP/2 through nginx; then scenarios/chat-stream.toml, shortened.
#
# needs: python3 with venv, curl, nginx-light; pip package openai (target/venv-openai, 60 MB)
# costs: 40 s, and 20 s more the first time; model servers on loopback at 40 streams/s
. tests/real/lib.sh

need_program python3 python3-venv
need_program curl curl
PATH=$PATH:/usr/sbin # where Debian keeps nginx, for everyone
need_program nginx nginx-light
venv openai tests/python/openai.txt

RATE=100 FIRST=0.2
started=()
trap 'kill "${started[@]}" 2>/dev/null || true' EXIT

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port
"$RESBENCH" model-server --listen "127.0.0.1:$port" --tokens-per-second $RATE --first-token ${FIRST}s >"$WORK/model-server.log" 2>&1 &
started+=($!)
for _ in $(seq 100); do
    curl -sf -o /dev/null "$url/health" && break
    sleep 0.1
done
counted() { curl -sf "$url/metrics" | awk '$1 == "model_server_output_tokens_total" { print $2 }'; }

"$PYTHON" tests/python/check_openai.py "$url" $FIRST $RATE
ok "the official client understands models, answers and streams"

# run_one NAME FILE [ARG...]: a run that ends with any verdict.
run_one() {
    local status=0 name=$1
    shift
    "$RESBENCH" run "$@" --yes --quiet --reports "$WORK/$name" >"$WORK/$name.txt" 2>&1 || status=$?
    case $status in
    0 | 1 | 3) say "$name: exit code $status" ;;
    *) cat "$WORK/$name.txt"; fail "$name: exit code $status: the run itself did not work" ;;
    esac
}

# Behind an nginx that speaks HTTP/2 to us and HTTP/1.1 to the server: the same streams, many on one connection.
h2=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkdir "$WORK/nginx"
cat >"$WORK/nginx/nginx.conf" <<END
daemon off;
worker_processes 1;
pid $WORK/nginx/nginx.pid;
error_log $WORK/nginx/error.log;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path $WORK/nginx/b; proxy_temp_path $WORK/nginx/p; fastcgi_temp_path $WORK/nginx/f; uwsgi_temp_path $WORK/nginx/u; scgi_temp_path $WORK/nginx/s;
    server {
        listen 127.0.0.1:$h2 http2;
        location / { proxy_pass $url; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }
    }
}
END
nginx -p "$WORK/nginx" -c "$WORK/nginx/nginx.conf" 2>"$WORK/nginx.log" &
started+=($!)
sleep 1
before=$(counted)
CHAT_URL=http://127.0.0.1:$h2/v1/chat/completions run_one chat-http2 tests/real/chat-url.toml --set target.http2=true
said=$(python3 tests/python/check_streams.py "$(run_dir "$WORK/chat-http2")/run.json" $FIRST $RATE steady)
after=$(($(counted) - before))
[ "$after" = $((said + 40)) ] || fail "over HTTP/2 resbench says $said tokens and 40 to find out, the server counted $after"
ok "over HTTP/2: resbench says $said tokens (and 40 to find out), the server counted $after, at the stated pace"

before=$(counted)
CHAT_URL=$url/v1/chat/completions run_one chat-url tests/real/chat-url.toml
said=$(python3 tests/python/check_streams.py "$(run_dir "$WORK/chat-url")/run.json" $FIRST $RATE steady)
# Before the load one request is sent to find out whether anybody answers; its 40 tokens are no part of the run's counts.
after=$(($(counted) - before))
[ "$after" = $((said + 40)) ] || fail "resbench says $said tokens and 40 to find out, the server counted $after"
ok "tokens: resbench says $said (and 40 to find out), the server counted $after"

run_one chat-stream scenarios/chat-stream.toml --set phase.warm-up.duration=2s --set phase.baseline.duration=6s \
    --set phase.fault.duration=8s --set phase.recovery.duration=4s --set fault.kill-one.at=fault+2s
RUN=$(run_dir "$WORK/chat-stream")
python3 tests/python/check_streams.py "$RUN/run.json" $FIRST $RATE baseline >"$WORK/chat-stream-tokens.txt"
python3 - "$RUN/run.json" <<'END'
import json, sys
run = json.load(open(sys.argv[1]))
fault = next(p for p in run["phases"] if p["name"] == "fault")
cut = sum(fault["errors"].values())
assert run["faults"][0]["proof"]["proven"] and 0 < cut < 60, (run["faults"][0]["proof"], fault["errors"])
assert set(fault["errors"]) <= {"closed", "reset", "bad_answer", "refused", "idle_closed"}, fault["errors"]
print(f"the killed replica cut {fault['errors']} of {fault['planned']} streams")
END
ok "scenarios/chat-stream.toml: the pace is the stated one, and streams that a dead replica cut are counted"
