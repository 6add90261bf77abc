#!/usr/bin/env bash
# A real Kubernetes with Chaos Mesh: pods killed, kill -9 of resbench, RBAC, refusals, nothing left.
# tests/kubelab is a cluster of one node in a sandbox; our own model server is what its pods run. The steps stand in
# tests/kube/inside.py, which runs in the sandbox.
#
# needs: root, cgroup v1, overlayfs; Debian's containerd, runc, stress-ng and others (apt); Go 1.25.11 (else pip's, target/venv-go)
# costs: 6 minutes, and 10 to 20 more the first time, to build Kubernetes and Chaos Mesh (3 GB of memory, 8 GB of caches)
. tests/real/lib.sh

lab=tests/kubelab/lab
need_program python3 python3
if ! "$lab" check 2>"$WORK/check.txt"; then
    # Everything but a missing Go is a matter of the machine.
    grep -q -- '^  - Go ' "$WORK/check.txt" || { cat "$WORK/check.txt" >&2; skip "tests/kubelab cannot work on this machine"; }
    venv go tests/kubelab/go.txt
    PATH=$(dirname "$PYTHON"):$PATH
    "$lab" check 2>"$WORK/check.txt" || { cat "$WORK/check.txt" >&2; skip "tests/kubelab cannot work on this machine"; }
fi

say "building the lab where it is not up to date; the log: ${WORK#"$PWD/"}/build.txt"
began=$SECONDS
"$lab" build --chaos-mesh >"$WORK/build.txt" 2>&1 || { tail -20 "$WORK/build.txt" >&2; skip "Kubernetes cannot be built here (its sources come from Go's module proxy)"; }
ok "the lab is built, after $((SECONDS - began)) s"
"$lab" image model-server --folder scenarios/models/fraud-v1=/model "$RESBENCH" >>"$WORK/build.txt" 2>&1 ||
    { tail -20 "$WORK/build.txt" >&2; fail "no image of the model server"; }

export WORK GROUP
in_lab() { "$lab" run --chaos-mesh --logs "$WORK/lab" --timeout 20m -- tests/kube/inside.py 2>&1 | tee "$WORK/inside.txt"; }
status=0
in_lab || status=$?
# Forty runs in a cluster of its own are many chances for a busy machine to be too slow once. What is wrong is wrong again.
if [ $status != 0 ] && [ $status != 125 ]; then
    say "!!! exit code $status inside the lab: once more, in a new one"
    # What the first one left (journals of a cluster that is gone, reports) is kept, and out of the way.
    mkdir -p "$WORK/first"
    find "$WORK" -mindepth 1 -maxdepth 1 ! -name first -exec mv -t "$WORK/first" {} +
    status=0
    in_lab || status=$?
fi
# 125 is the lab's own: it could not start, and no step was begun.
[ $status != 125 ] || skip "the lab does not start on this machine; its logs: ${WORK#"$PWD/"}/lab"
# kube-proxy may lag seconds behind the pods on a busy machine: then the run rightly does not start, and nothing was tested.
if [ $status != 0 ] && grep -q 'the steady state d.* not hold' "$WORK/inside.txt"; then
    skip "the lab's Service lost connections twice: no step after that was run"
fi
[ $status = 0 ] || fail "exit code $status inside the lab"

# The sandbox is known by its namespaces: nothing runs in them any more, and with them its mounts and network are gone.
read -r run pids mounts <"$WORK/sandbox"
left=$(find /proc/[0-9]*/ns/pid /proc/[0-9]*/ns/mnt -maxdepth 0 '(' -lname "$pids" -o -lname "$mounts" ')' 2>/dev/null || true)
left+=$(find "$run" /sys/fs/cgroup/*/"kubelab-${run##*/}" -maxdepth 0 2>/dev/null || true)
[ -z "$left" ] || fail "left of the lab: $left"
ok "no process, mount, cgroup and file is left of the lab"
