#!/usr/bin/env bash
# Faults by the real Chaos Mesh on our own model server, one after another: in force, proven by what pods show, gone
# afterwards. Started inside tests/kubelab from the project's root with the Deployment model-server of
# scenarios/kubernetes ready; RESBENCH is the program, KUBECONFIG that of an admin, WORK a folder of ours.
#
# usage: chaos_mesh.sh [FAULT...]     all of them, or these
set -euo pipefail

: "${RESBENCH:?}" "${KUBECONFIG:?}" "${WORK:=$(mktemp -d)}"
failed=0

say() { printf 'chaos-mesh: %s\n' "$*"; }

# scenario NAME 'lines of the fault' 'lines of [platform.kubernetes]'
scenario() {
    cat >"$WORK/$1.toml" <<TOML
name = "$1"
[target]
protocol = "http"
[platform.kubernetes]
namespace = "ml-serving"
deployment = "model-server"
service = "model-server:8080"
$3
[traffic]
body = "{}"
timeout = "1s"
[[phase]]
name = "load"
duration = "${LOAD:-14s}"
rate = 20
[[fault]]
name = "f"
at = "2s"
$2
TOML
    sed -i 's|^protocol = "http"|&\nmethod = "GET"\npath = "/ping"|' "$WORK/$1.toml"
}

# prove NAME LEVEL 'words of the evidence' KIND-LINES [PLATFORM-LINES]: runs it and looks at run.json.
prove() {
    local name=$1 level=$2 words=$3
    scenario "$name" "$4" "${5:-}"
    kubectl -n ml-serving rollout status deployment/model-server --timeout=90s >/dev/null
    local code=0
    "$RESBENCH" run "$WORK/$name.toml" --yes --quiet --output json --reports "$WORK/reports" \
        >"$WORK/$name.json" 2>"$WORK/$name.err" || code=$?
    if python3 - "$WORK/$name.json" "$level" "$words" <<'PY'
import json, sys
run = json.load(open(sys.argv[1]))
(fault,) = run["faults"]
proof = fault["proof"]
print("  ", fault["mechanism"], "·", fault["via"], "·", proof["level"], "·", proof["evidence"][:400])
sound = proof["level"] == sys.argv[2] and sys.argv[3] in proof["evidence"] and run["clean"] and fault["applied_at_s"] is not None
sys.exit(0 if sound else 1)
PY
    then say "ok: $name: $level, exit code $code"
    else
        say "FAILED: $name: exit code $code"
        head -c 2000 "$WORK/$name.err"
        failed=1
    fi
    local left
    left=$(kubectl get podchaos,networkchaos,stresschaos,iochaos,httpchaos -A -l app.kubernetes.io/managed-by=resbench -o name)
    [ -z "$left" ] || { say "FAILED: $name: left: $left"; failed=1; }
}

VIA='via = "chaos-mesh"'

pod_kill() { prove pod-kill effect 'gone after' $'kind = "pod-kill"\n'"$VIA"; }
pod_failure() { prove pod-failure effect 'not ready after' $'kind = "pod-failure"\nfor = "8s"\n'"$VIA"; }
container_kill() { prove container-kill effect 'its container ended after' $'kind = "pod-kill"\ncontainer = "model-server"\n'"$VIA"; }
partition() { prove partition effect 'not ready after' $'kind = "network-partition"\nfor = "9s"'; }
cpu_stress() { prove cpu-stress acknowledged 'records say injected' $'kind = "cpu-stress"\nfor = "5s"'; }
bandwidth() { prove bandwidth trusted 'vouches' $'kind = "network-bandwidth"\nrate = "64KiB"\nfor = "4s"\nproof = "trust"'; }
raw() {
    prove raw effect 'gone after' 'kind = "chaos-mesh"
[fault.spec]
action = "pod-kill"
mode = "one"
duration = "60s"
scheduler = { cron = "@every 24h" }
selector = { namespaces = ["ml-serving"], labelSelectors = { app = "model-server" } }'
}
nobody() {
    scenario nobody 'kind = "chaos-mesh"
spec = { action = "pod-kill", mode = "one", selector = { namespaces = ["ml-serving"], labelSelectors = { app = "nobody" } } }' ''
    local code=0
    "$RESBENCH" run "$WORK/nobody.toml" --yes --reports "$WORK/reports" >"$WORK/nobody.txt" 2>&1 || code=$?
    if [ "$code" = 5 ] && grep -q 'no running pod' "$WORK/nobody.txt"; then say "ok: a selector that finds nobody does not start"
    else say "FAILED: nobody: exit code $code"; tail -5 "$WORK/nobody.txt"; failed=1; fi
}

for fault in "${@:-pod_kill pod_failure container_kill partition cpu_stress bandwidth raw nobody}"; do
    for one in $fault; do "$one"; done
done
exit "$failed"
