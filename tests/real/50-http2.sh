#!/usr/bin/env bash
# Our HTTP/2 against servers that others wrote: nghttp2's own and nginx.
# Small and large answers, uploads that wait for the server's windows and come back whole, HEAD, answers beyond
# max_answer, and a server that ends every connection after 100 requests.
#
# needs: cargo, python3; Debian's nghttp2-server and nginx-light (apt: 2 MB where they are missing)
# costs: 20 s beside the build of the tests; loopback only
. tests/real/lib.sh

need_program cargo cargo
need_program python3 python3
need_program nghttpd nghttp2-server
PATH=$PATH:/usr/sbin # where Debian keeps nginx, for everyone
need_program nginx nginx-light

started=()
trap 'kill "${started[@]}" 2>/dev/null || true' EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
wait_for() {
    for _ in $(seq 100); do
        python3 -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1)' "$1" 2>/dev/null && return
        sleep 0.1
    done
    fail "nobody listens on port $1"
}

mkdir "$WORK/files"
echo "a small answer" >"$WORK/files/small"
head -c 3000000 /dev/zero | tr '\0' x >"$WORK/files/large"

# check PORT TEST WORDS: runs one of the tests that wait for a server.
check() {
    RESBENCH_H2_PEER=127.0.0.1:$1 cargo test --locked --quiet --lib "client::http2::tests::real::$2" -- --exact --ignored \
        >"$WORK/$2.txt" 2>&1 || { tail -30 "$WORK/$2.txt" >&2; fail "$3"; }
    grep -q '1 passed' "$WORK/$2.txt" || fail "no test $2 was run: $(cat "$WORK/$2.txt")"
    ok "$3"
}

port=$(free_port)
nghttpd --no-tls --address=127.0.0.1 --echo-upload --htdocs="$WORK/files" "$port" >"$WORK/nghttpd.log" 2>&1 &
started+=($!)
wait_for "$port"
check "$port" every_request_is_answered "nghttpd: 15,000 small answers over 1, 10 and 100 streams, large ones, HEAD"
check "$port" every_upload_comes_back_whole "nghttpd: 280 uploads of 1 to 500,000 bytes come back as they were"

# server NAME REQUESTS: an nginx that ends a connection after so many.
nginx_with() {
    port=$(free_port)
    mkdir "$WORK/$1"
    cat >"$WORK/$1/nginx.conf" <<END
daemon off;
worker_processes 1;
pid $WORK/$1/nginx.pid;
error_log $WORK/$1/error.log;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path $WORK/$1/b; proxy_temp_path $WORK/$1/p; fastcgi_temp_path $WORK/$1/f; uwsgi_temp_path $WORK/$1/u; scgi_temp_path $WORK/$1/s;
    keepalive_requests $2;
    server { listen 127.0.0.1:$port http2; root $WORK/files; }
}
END
    nginx -p "$WORK/$1" -c "$WORK/$1/nginx.conf" 2>"$WORK/$1/nginx.log" &
    started+=($!)
    wait_for "$port"
}
nginx_with lasting 1000000
check "$port" every_request_is_answered "nginx: 15,000 small answers over 1, 10 and 100 streams, large ones, HEAD"
nginx_with leaving 100
check "$port" a_server_that_leaves_answers_or_says_that_it_did_not "nginx that leaves after 100 requests: every request has one end"
