#!/usr/bin/env bash
# A real Docker Engine: containers killed, paused and cut off under load; kill -9 of resbench; what is refused.
# Starts an engine of its own in a network and mount namespace of its own, with everything of it under target/; makes the image
# from the binary under test (no registry), three model servers as a compose project would label them, and a registry.
#
# needs: root (namespaces, cgroups, overlay or vfs); Debian's docker.io
# costs: 5 minutes; an engine, four small containers at 100 requests/s
if [ -z "${RESBENCH_IN_SANDBOX:-}" ]; then
    . tests/real/lib.sh
    [ "$(id -u)" = 0 ] || skip "an engine of its own needs root; run it with sudo"
    need_program unshare util-linux
    need_program ip iproute2
    need_program python3 python3
    need_program dockerd docker.io
    unshare --mount --net --propagation private true 2>"$WORK/unshare.log" ||
        skip "no namespaces can be made here: $(tail -1 "$WORK/unshare.log")"
    RESBENCH_IN_SANDBOX=1 exec unshare --mount --net --propagation private "$0"
fi
. tests/real/lib.sh

ip link set lo up
ENGINE=$WORK/engine
mkdir -p "$ENGINE"
echo '{}' >"$ENGINE/none.json" # whatever stands in /etc/docker is somebody else's
# A path of a socket has at most 107 bytes, and a worktree may lie deep.
SHORT=$(mktemp -d /tmp/resbench-docker.XXXXXX)
export DOCKER_HOST=unix://$SHORT/docker.sock DOCKER_CONFIG=$ENGINE
unset DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH

engine=
start_engine() { # STORAGE_DRIVER
    dockerd --config-file "$ENGINE/none.json" --data-root "$ENGINE/root-$1" --exec-root "$SHORT/exec" --pidfile "$SHORT/pid" \
        --host "$DOCKER_HOST" --storage-driver "$1" --iptables=false --ip6tables=false --ip-masq=false --userland-proxy=false \
        --cgroup-parent "/resbench-test-$$" >"$WORK/dockerd-$1.log" 2>&1 &
    engine=$!
    for _ in $(seq 120); do
        docker version >/dev/null 2>&1 && return 0
        kill -0 $engine 2>/dev/null || return 1
        sleep 0.25
    done
    return 1
}
resbench=
stop_all() {
    local status=$?
    [ -z "$resbench" ] || kill -9 "$resbench" 2>/dev/null || true
    [ -z "$engine" ] || {
        docker ps -aq 2>/dev/null | xargs -r docker rm -f >/dev/null 2>&1 || true
        kill "$engine" 2>/dev/null || true
        wait "$engine" 2>/dev/null || true
    }
    rm -rf "$SHORT" "$ENGINE"
    find /sys/fs/cgroup -depth -type d -path "*/resbench-test-$$*" -exec rmdir {} + 2>/dev/null || true
    exit $status
}
trap stop_all EXIT
PATH=/usr/bin:/usr/sbin:$PATH # Debian's client beside Debian's engine
start_engine overlay2 || start_engine vfs ||
    { tail -5 "$WORK"/dockerd-*.log >&2; skip "dockerd does not start here (see target/real/$GROUP/dockerd-*.log)"; }
say "Docker $(docker version --format '{{.Server.Version}}'), $(docker info --format '{{.Driver}}, cgroup v{{.CgroupVersion}}')"

image=$(scenarios/docker/image.sh "$RESBENCH")
docker network create --subnet 10.231.0.0/24 shop >/dev/null
project=com.docker.compose.project=resbench-example
up() { # NAME SERVICE NUMBER ARGUMENT...
    local name=$1 service=$2 number=$3
    shift 3
    docker run -d --name "$name" --network shop --network-alias "$service" --label "$project" \
        --label "com.docker.compose.service=$service" --label "com.docker.compose.container-number=$number" \
        -v "$PWD/scenarios/models/fraud-v1:/models/fraud-v1:ro" --health-cmd "bash /bin/http-ok 8080 /ping" \
        --health-interval 1s --health-timeout 2s --health-retries 2 \
        "$image" /bin/resbench model-server --listen 0.0.0.0:8080 "$@" >/dev/null
}
up resbench-example-registry-1 registry 1 --role registry
model_server() { # NUMBER
    up "resbench-example-model-server-$1" model-server "$1" --model /models/fraud-v1 --service-time lognormal:10ms,0.3 \
        --registry http://registry:8080/
}
for n in 1 2 3; do model_server $n; done
# One that nobody may touch.
docker run -d --name bystander "$image" /bin/bash -c 'while :; do read -t 3600 <> <(:); done' >/dev/null
bystander=$(docker inspect -f '{{.State.StartedAt}} {{.State.Pid}}' bystander)

state() { docker inspect -f '{{.State.Status}}' "$1"; }
all_up() {
    local name
    for name in model-server-{1,2,3} registry-1; do
        [ "$(state "resbench-example-$name")" = running ] || return 1
    done
    [ "$(docker network inspect -f '{{len .Containers}}' shop)" = 4 ]
}
until_up() { # SECONDS WHAT
    for _ in $(seq $(($1 * 5))); do
        all_up && return 0
        sleep 0.2
    done
    docker ps -a
    fail "$2: not all containers are up and connected"
}

SHORTER=(--set phase.warm-up.duration=2s --set phase.baseline.duration=5s --set phase.fault.duration=12s --set phase.recovery.duration=5s
    --set phase.warm-up.rate=50 --set phase.baseline.rate=100 --set phase.fault.rate=100 --set phase.recovery.rate=100)
# run_one NAME ARG...: a run that ends with any verdict.
run_one() {
    local status=0 name=$1
    shift
    timeout 120 "$RESBENCH" run scenarios/docker/pod-kill.toml "${SHORTER[@]}" --yes --quiet --reports "$WORK/$name" "$@" \
        >"$WORK/$name.txt" 2>&1 || status=$?
    case $status in
    0 | 1 | 3) say "$name: exit code $status" ;;
    *) cat "$WORK/$name.txt"; tail -3 "$WORK"/dockerd-*.log; fail "$name: exit code $status: the run itself did not work" ;;
    esac
    python3 tests/docker/check_run.py "$(run_dir "$WORK/$name")" "$name"
    until_up 10 "after $name"
}
LASTS='--set fault.kill-one.for=4s --set objective.2.fault=kill-one'

say "what is refused"
refused() { # CODE TEXT ARG...
    local code=$1 text=$2 status=0
    shift 2
    timeout 60 "$RESBENCH" run scenarios/docker/pod-kill.toml "${SHORTER[@]}" --quiet --reports "$WORK/refused" "$@" >"$WORK/refused.txt" 2>&1 </dev/null || status=$?
    [ $status = "$code" ] && grep -qF -- "$text" "$WORK/refused.txt" ||
        { cat "$WORK/refused.txt"; fail "expected exit code $code and \`$text\`, got $status"; }
}
refused 2 "are not resbench's own: say --yes"
refused 5 "there is no such socket" --yes --set "platform.docker.host=unix://$SHORT/none.sock"
refused 5 "service \`model-server\` of project \`resbench-example\`" --yes --set platform.docker.service=modelserver
refused 2 "Docker cannot do \`io-latency\`" --yes --set fault.kill-one.kind=io-latency --set fault.kill-one.delay=1s \
    --set fault.kill-one.for=2s
docker stop -t 1 resbench-example-model-server-2 >/dev/null
refused 5 "container resbench-example-model-server-2 is not running" --yes
docker start resbench-example-model-server-2 >/dev/null
ok "no yes, no socket, no such service, an IO fault, a container that is not up: each with its reason"

"$RESBENCH" plan scenarios/docker/pod-kill.toml >"$WORK/plan.txt"
[ "$(grep -c 'container resbench-example-model-server-' "$WORK/plan.txt")" = 3 ] || { cat "$WORK/plan.txt"; fail "plan does not list the containers"; }
grep -q '3 found; at most 1' "$WORK/plan.txt" || { cat "$WORK/plan.txt"; fail "plan does not count them"; }
"$RESBENCH" doctor >"$WORK/doctor.txt"
grep -q "^ok  *docker .*${DOCKER_HOST#unix://}" "$WORK/doctor.txt" || { cat "$WORK/doctor.txt"; fail "doctor"; }
ok "plan lists the three containers, doctor names the engine"

run_one kill
run_one pause --set fault.kill-one.kind=pod-pause --set fault.kill-one.for=4s --set 'platform.docker.ready={path="/ping", every="500ms"}'
run_one failure --set fault.kill-one.kind=pod-failure --set fault.kill-one.for=3s
run_one partition --set fault.kill-one.kind=network-partition --set fault.kill-one.for=3s
cat >"$WORK/cut.py" <<'PY'
import sys
text = open("scenarios/docker/pod-kill.toml").read()
text = text.replace('kind = "pod-kill"', 'kind = "network-partition"\nfor = "4s"\ntarget = "registry"').replace('mode = "one"\n', "")
text = text.replace('"../data', '"../../../scenarios/data').replace('"compose.yaml"', '"../../../scenarios/docker/compose.yaml"')
open(sys.argv[1], "w").write(text)
PY
python3 "$WORK/cut.py" "$WORK/cut.toml"

address() { docker inspect -f '{{(index .NetworkSettings.Networks "shop").IPAddress}} {{(index .NetworkSettings.Networks "shop").Aliases}}' resbench-example-registry-1; }
before=$(address)
status=0
timeout 120 "$RESBENCH" run "$WORK/cut.toml" "${SHORTER[@]}" --yes --quiet --reports "$WORK/cut" >"$WORK/cut.txt" 2>&1 || status=$?
case $status in 0 | 1 | 3) ;; *) cat "$WORK/cut.txt"; fail "cut: exit code $status" ;; esac
python3 tests/docker/check_run.py "$(run_dir "$WORK/cut")" cut
until_up 5 "after cut"
[ "$(address)" = "$before" ] || fail "the registry was at $before and is at $(address)"
ok "the registry is back on its network as $before"

# die NAME FILE EXPECTED ARG...: kill -9 of resbench while the fault is on, which the engine shows; the watchdog puts it back.
die() {
    local name=$1 file=$2 broken=$3
    shift 3
    "$RESBENCH" run "$file" "${SHORTER[@]}" --yes --reports "$WORK/$name" "$@" >"$WORK/$name.txt" 2>"$WORK/$name-progress.txt" &
    resbench=$!
    for _ in $(seq 600); do
        "$broken" && break
        kill -0 $resbench 2>/dev/null || break
        sleep 0.05
    done
    "$broken" || { cat "$WORK/$name-progress.txt"; fail "$name: the engine never showed the fault"; }
    kill -9 $resbench
    wait $resbench 2>/dev/null || true
    resbench=
    until_up 20 "$name: after kill -9 and its watchdog"
    (cd "$WORK" && "$RESBENCH" revert --yes) >"$WORK/$name-revert.txt" || { cat "$WORK/$name-revert.txt"; fail "$name: revert"; }
    grep -q 'nothing is left' "$WORK/$name-revert.txt" || { cat "$WORK/$name-revert.txt"; fail "$name: revert finds something"; }
    ok "$name: kill -9 in mid-fault, put back by the watchdog; revert from another folder finds nothing left"
}
one_is() { docker ps -a --format '{{.State}}' --filter label=com.docker.compose.service=model-server | grep -qx "$1"; }
one_down() { one_is exited; }
one_paused() { one_is paused; }
is_cut() { [ "$(docker network inspect -f '{{len .Containers}}' shop)" = 3 ]; }
die died-down scenarios/docker/pod-kill.toml one_down --set platform.docker.restart_delay=60s
die died-paused scenarios/docker/pod-kill.toml one_paused --set fault.kill-one.kind=pod-pause --set fault.kill-one.for=8s
die died-cut "$WORK/cut.toml" is_cut --set fault.kill-one.for=8s

# Somebody makes the killed container anew, as `docker compose up` does: the new one plays the replica from then on.
"$RESBENCH" run scenarios/docker/pod-kill.toml "${SHORTER[@]}" --set platform.docker.restart_delay=60s --yes --quiet \
    --reports "$WORK/anew" >"$WORK/anew.txt" 2>&1 &
resbench=$!
for _ in $(seq 600); do
    one_down && break
    kill -0 $resbench 2>/dev/null || break
    sleep 0.05
done
one_down || { cat "$WORK/anew.txt"; fail "anew: the engine never showed the fault"; }
gone=$(docker ps -a --filter status=exited --filter label=com.docker.compose.service=model-server --format '{{.Names}}')
docker rm "$gone" >/dev/null
model_server "${gone##*-}"
status=0
wait $resbench || status=$?
resbench=
case $status in 0 | 1 | 3) ;; *) cat "$WORK/anew.txt"; fail "anew: exit code $status" ;; esac
python3 - "$(run_dir "$WORK/anew")/run.json" <<'PY'
import json, sys
run = json.load(open(sys.argv[1]))
[fault] = run["faults"]
events = [e for e in run["platform_events"] if e["at_s"] >= fault["applied_at_s"]]
at = next((i for i, e in enumerate(events) if "was made anew" in e["text"]), None)
assert at is not None, events
assert any(e["text"].endswith("is ready") and e["replica"] == events[at]["replica"] for e in events[at:]), events[at:]
assert run["clean"] and fault["proof"]["proven"], fault["proof"]
assert fault["impact"]["recovery_s"] is not None, fault["impact"]
PY
until_up 5 "anew"
ok "a container that was killed and made anew by somebody else plays its replica again"

[ "$(docker inspect -f '{{.State.StartedAt}} {{.State.Pid}}' bystander)" = "$bystander" ] || fail "the bystander was touched"
ok "the container beside them was never touched"
