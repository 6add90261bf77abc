#!/usr/bin/env python3
"""Every promise about Kubernetes and Chaos Mesh, held against a real cluster. Started by tests/real/70-kubernetes.sh inside
tests/kubelab, from the project's root, with RESBENCH, WORK and GROUP set.

usage: inside.py [STEP...]     all steps, or these
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

RESBENCH = os.environ["RESBENCH"]
WORK = pathlib.Path(os.environ["WORK"])
LAB = pathlib.Path(os.environ["LAB_DIR"])
SCENARIOS = pathlib.Path("scenarios/kubernetes")
NAMESPACE = "ml-serving"
OURS = "app.kubernetes.io/managed-by=resbench"
CHAOS = "podchaos,networkchaos,iochaos,stresschaos,httpchaos"

# ---------------------------------------------------------------- what every step uses


def say(words):
    print(f"{os.environ['GROUP']}: {words}", flush=True)


def expect(holds, words, why=""):
    if not holds:
        say(f"FAILED: not so: {words}")
        sys.exit(str(why) or 1)
    say(f"ok: {words}")


def wait(seconds, what, holds):
    """Until `holds()` is true; its value."""
    end = time.monotonic() + seconds
    while not (value := holds()):
        if time.monotonic() > end:
            sys.exit(f"FAILED: {seconds} s went by: {what}")
        time.sleep(0.1)
    return value


def kubectl(*words, text=None, good=True):
    done = subprocess.run(["kubectl", *words], input=text, capture_output=True, text=True, timeout=60)
    if good and done.returncode != 0:
        sys.exit(f"kubectl {' '.join(words)}: {done.stderr}")
    return done


def get(*words):
    return json.loads(kubectl("-n", NAMESPACE, "get", *words, "-o", "json").stdout)


def pods(app="model-server"):
    """Living pods by UID: their names."""
    items = get("pods", "-l", f"app={app}")["items"]
    return {p["metadata"]["uid"]: p["metadata"]["name"] for p in items if "deletionTimestamp" not in p["metadata"]}


def replicas():
    deployment = get("deployment", "model-server")
    return deployment["spec"]["replicas"], deployment["status"].get("readyReplicas", 0)


def chaos():
    """Names of all Chaos Mesh objects of the cluster; none where it is not there."""
    got = kubectl("get", CHAOS, "-A", "-o", "name", good=False)
    if got.returncode != 0 and "doesn't have a resource type" not in got.stderr:
        sys.exit(got.stderr)
    return got.stdout.split()


def settled(want=3):
    """So many replicas, all ready, nothing of ours in the cluster."""
    wait(60, f"{want} ready replicas and no more", lambda: replicas() == (want, want) and len(pods()) == want)
    left = chaos()
    expect(not left, "nothing of resbench is left in the cluster", left)


def service_follows():
    """Waits, 10 s at most, until the Service has stood for a moment: its node follows endpoints up to a second later, and
    until then one connection in three may meet a pod that is gone."""
    found = kubectl("-n", NAMESPACE, "get", "service", "model-server", "-o", "jsonpath={.spec.clusterIP}", good=False).stdout.strip()
    end, good = time.monotonic() + 10, 0
    while found and good < 40 and time.monotonic() < end:
        try:
            socket.create_connection((found, 8080), 0.3).close()
            good += 1
        except OSError:
            good = 0
        time.sleep(0.03)


def resbench(*words, env=None, cwd=None, name="last"):
    """Runs it to its end: exit code and all that it said."""
    if words[0] == "run":
        service_follows()
    with open(WORK / f"{name}.txt", "w+", encoding="utf-8") as out:
        env = os.environ | (env or {})
        code = subprocess.run([RESBENCH, *words], stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env, cwd=cwd, timeout=300)
        out.seek(0)
        return code.returncode, out.read()


SHORT = {"phase.warm-up.duration": "2s", "phase.baseline.duration": "6s", "phase.fault.duration": "14s", "phase.recovery.duration": "4s"}


def sets(**more):
    return [word for key, value in (SHORT | more).items() for word in ("--set", f"{key}={value}")]


def run_json(name):
    (path,) = (WORK / name).glob("*/*/run.json")
    return json.loads(path.read_text())


def run(name, scenario, *words, codes=(0, 1, 3), env=None, **more):
    """A run, shortened; its run.json. These runs are too short for verdicts: what they must show is checked here."""
    for _ in range(2):
        # Left by an earlier lab, whose run failed.
        shutil.rmtree(WORK / name, ignore_errors=True)
        code, said = resbench("run", str(scenario), "--yes", "--reports", str(WORK / name), *sets(**more), *words, env=env, name=name)
        # kube-proxy may lag behind the pods of the run before: a steady state that did not hold tested nothing, so once more.
        if code != 5 or 5 in codes or "the steady state did not hold" not in said:
            break
    expect(code in codes, f"{name}: exit code {code}", said)
    return run_json(name) if code not in (2, 5) else said


def left_of(binary=RESBENCH):
    """Processes of this sandbox that run the binary; in pods it has another path."""
    found = []
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(proc / "exe").removesuffix(" (deleted)") == binary:
                found.append(int(proc.name))
    return found


# ---------------------------------------------------------------- the steps


def deploy():
    """The model servers of the scenarios, and what no fault may touch."""
    kubectl("apply", "-f", str(SCENARIOS / "model-server.yaml"), "-f", "tests/kube/bystanders.yaml")
    for namespace, name in ((NAMESPACE, "model-server"), (NAMESPACE, "bystander"), ("other", "model-server")):
        kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=60s")
    expect(replicas() == (3, 3), "three pods of our model server are ready")


def bystanders():
    items = json.loads(kubectl("get", "pods", "-A", "-o", "json").stdout)["items"]
    return {p["metadata"]["uid"] for p in items if p["metadata"]["labels"]["app"] == "bystander" or p["metadata"]["namespace"] == "other"}


def pod_kill(name="pod-kill"):
    """One pod is killed and replaced: by its UID, proven, seen by watches, its recovery split."""
    before = pods()
    done = run(name, SCENARIOS / f"{name}.toml")
    after = pods()
    (victim,), (replacement,) = set(before) - set(after), set(after) - set(before)
    (fault,) = done["faults"]
    proof, impact = fault["proof"], fault["impact"]
    expect(before[victim] in str(fault["targets"]), f"the record's target is the victim: {fault['targets']}", fault)
    expect(proof["proven"] and proof["level"] == "effect", f"proven: {proof['evidence']}", fault)
    if fault["via"] == "kubernetes":
        split = [victim, after[replacement], "scheduled after", "in rotation after", "first good answers"]
        expect(all(word in proof["evidence"] for word in split), "by its UID; the way back is split, up to good answers", proof)
    # Whether all answers are in time again is a matter of the machine as well: a busy one may be slow at any moment.
    say(f"impact: {impact['state']}, recovered after {impact['recovery_s']} s; {impact['failed']} failed, {impact['slow']} slow")
    events = [e["text"] for e in done["platform_events"] if e["at_s"] > 0]
    for pod in (before[victim], after[replacement]):
        expect(any(pod in text for text in events), f"events on the time axis name {pod}", events)
    expect(done["clean"], "the run is clean")
    nothing_to_revert()
    settled()


def pod_kill_by_chaos_mesh():
    """The same by a PodChaos, which is gone afterwards."""
    pod_kill("pod-kill-chaos-mesh")


MEASURED = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: pods.metrics.k8s.io, annotations: {api-approved.kubernetes.io: "unapproved, the tests' own"}}
spec:
  group: metrics.k8s.io
  scope: Namespaced
  names: {plural: pods, singular: podmetrics, kind: PodMetrics, listKind: PodMetricsList}
  versions:
    - name: v1beta1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


@contextlib.contextmanager
def measured():
    """Plays the metrics server: what it would serve, at the paths where it would, by the real API server; a pod with n containers' worth of
    CPU says so at another time each second."""
    kubectl("create", "-f", "-", text=MEASURED)
    kubectl("wait", "--for=condition=Established", "crd/pods.metrics.k8s.io", "--timeout=30s")
    over, played = threading.Event(), []

    def play():
        turn = 0
        while not over.wait(1):
            turn += 1
            played.append(turn)
            items = [{
                "apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics", "timestamp": f"2026-01-01T00:00:{turn % 60:02}Z", "window": "15s",
                "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": "model-server"}},
                "containers": [{"name": "model-server", "usage": {"cpu": f"{100 + turn}m", "memory": "14520Ki"}}],
            } for name in pods().values()]
            kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}), good=False)

    player = threading.Thread(target=play)
    player.start()
    try:
        wait(30, "pods are measured", lambda: len(get("pods.metrics.k8s.io")["items"]) >= 3)
        yield
    finally:
        over.set()
        alive = player.is_alive()
        player.join()
        expect(alive and len(played) > 3, f"the metrics server was played to the end: {len(played)} turns")
        kubectl("delete", "crd", "pods.metrics.k8s.io")


PROBES = """
[[probe]]
name = "all-ready"
kind = "kubernetes"
deployment = "model-server"
expect_ready = 3
when = ["before", "during", "after"]
every = "500ms"

[safety]"""


def usage_and_probe():
    """What pods use stands in the report where the cluster measures it; a probe sees a replica missing, and back."""
    scenario = variant("usage", ("[safety]", PROBES))
    with measured():
        done = run("usage", scenario)
    (page,) = [s for s in done["scrapes"] if s["source"] == "metrics.k8s.io"]
    of = {s["name"]: [v for _, v in s["points"]] for s in page["series"]}
    expect(page["read"] > 2 and page["failed"] == 0, f"usage was read {page['read']} times", page)
    expect(sum("cpu_cores" in name for name in of) >= 3, f"of every pod: {sorted(of)}", page)
    expect(all(0.1 < v < 1 for name, values in of.items() if "cpu_cores" in name for v in values), "cores are cores", of)
    expect(all(v == 14520 * 1024 for name, values in of.items() if "memory" in name for v in values), "bytes are bytes", of)
    expect("15s" in str(page["notes"]), f"it is said what a value means: {page['notes']}", page)
    (probe,) = [p for p in done["probes"] if p["name"] == "all-ready"]
    passed = [r["ok"] for r in probe["results"]]
    expect(passed[0] and passed[-1] and not all(passed), f"the probe passed, failed and passed again: {passed.count(False)} of {len(passed)}", probe)
    settled()


def nothing_to_revert():
    code, said = resbench("revert")
    expect(code == 0 and "nothing is left to put back" in said, "`revert` finds nothing left", said)


def variant(name, *changes, of="pod-kill"):
    """The scenario with parts of its text replaced."""
    text = (SCENARIOS / f"{of}.toml").read_text()
    for old, new in [("../data/", f"{SCENARIOS.parent.resolve()}/data/"), *changes]:
        if old not in text:
            sys.exit(f"{of}.toml has no {old}")
        text = text.replace(old, new)
    path = WORK / f"{name}.toml"
    path.write_text(text)
    return path


METHOD = 'method = "force"'
KILL = 'kind = "pod-kill"\n' + METHOD
DOWN = 'kind = "pod-failure"\nvia = "kubernetes"\nfor = "5s"'
DOWN_BY_CHAOS_MESH = 'kind = "pod-failure"\nvia = "chaos-mesh"\nfor = "5s"'


@contextlib.contextmanager
def started(name, scenario):
    """A run in the background; it is ended if it still runs."""
    service_follows()
    with open(WORK / f"{name}.txt", "w", encoding="utf-8") as said:
        child = subprocess.Popen(
            [RESBENCH, "run", scenario, "--yes", "--reports", WORK / name, *sets()], stdout=said, stderr=said, stdin=subprocess.DEVNULL)
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()


def on(child, name, hurt):
    """Waits until the fault of a started run is felt."""
    wait(60, f"{name}: the fault is on; see {name}.txt", lambda: child.poll() is not None or hurt())
    expect(child.poll() is None, f"{name}: the fault is on", (WORK / f"{name}.txt").read_text())


def kill_nine(name, scenario, hurt, *, watchdog):
    """SIGKILL to resbench once `hurt()` is true; without a `watchdog`, to that too."""
    with started(name, scenario) as child:
        on(child, name, hurt)
        for pid in [child.pid] if watchdog else left_of():
            os.kill(pid, signal.SIGKILL)


def revert_elsewhere():
    """`revert --journal` by somebody else: another working directory, another state directory."""
    (journal,) = (WORK / "state/resbench").glob("*.jsonl")
    elsewhere = WORK / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    return resbench("revert", "--journal", str(journal), "--yes", cwd=elsewhere, env={"XDG_STATE_HOME": str(elsewhere)})


@contextlib.contextmanager
def alone():
    """With a single replica: without Chaos Mesh, only such a Deployment can be held down, by scaling it to zero."""
    kubectl("-n", NAMESPACE, "scale", "deployment/model-server", "--replicas=1")
    settled(1)
    yield
    kubectl("-n", NAMESPACE, "scale", "deployment/model-server", "--replicas=3")
    settled()


def down():
    return replicas()[0] == 0


def kill_nine_native():
    """resbench dies while a replica is held down: the watchdog brings it back; without one, `revert` does."""
    scenario = variant("scale", (KILL, DOWN))
    with alone():
        kill_nine("scale-watchdog", scenario, down, watchdog=True)
        wait(20, "the watchdog scales back", lambda: not down())
        settled(1)
        nothing_to_revert()
        kill_nine("scale-revert", scenario, down, watchdog=False)
        time.sleep(2)
        expect(down(), "without a watchdog the replica stays away")
        code, said = resbench("run", str(scenario), "--yes", "--reports", str(WORK / "in-the-way"), *sets())
        expect(code == 4, "a new run refuses to start on the unfinished journal", said)
        code, said = revert_elsewhere()
        expect(code == 0 and not down(), "`revert` from a second working directory scales back", said)
        settled(1)
        nothing_to_revert()


def kill_nine_chaos_mesh():
    """resbench dies under a PodChaos: the watchdog deletes it; without one it ends by itself, and `revert` deletes it."""
    scenario = variant("mesh", (KILL, DOWN_BY_CHAOS_MESH))
    hurt = lambda: chaos() and replicas()[1] == 2
    kill_nine("mesh-watchdog", scenario, hurt, watchdog=True)
    wait(20, "the watchdog deletes the PodChaos", lambda: not chaos())
    settled()
    nothing_to_revert()
    kill_nine("mesh-revert", scenario, hurt, watchdog=False)
    wait(60, "the PodChaos ends by its own duration", lambda: replicas()[1] == 3)
    expect(chaos(), "without a watchdog the PodChaos ended by its own duration and is still there")
    code, said = revert_elsewhere()
    expect(code == 0 and not chaos(), "`revert` from a second working directory deletes it", said)
    settled()
    nothing_to_revert()


def manifests():
    """Every manifest that a plan prints is accepted by the API server, its CRDs and webhooks."""
    code, said = resbench("plan", "tests/kube/every-kind.toml", "--manifests")
    expect(code == 0, "`plan --manifests` prints", said)
    dry = kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", text=said)
    accepted = dry.stdout.splitlines()
    expect(len(accepted) >= 10, f"{len(accepted)} manifests of every kind and action are accepted", dry.stdout)


def refused(name, code, words, *changes, env=None, extra=("--yes",)):
    """The scenario, changed so, does not start, says why, and hits nobody."""
    before = pods()
    path = variant(name, *changes)
    got, said = resbench("run", str(path), "--reports", str(WORK / name), *sets(), *extra, env=env, name=name)
    flat = " ".join(said.split())
    expect(got == code and all(w in flat for w in words), f"{name}: exit code {code}, says {words}", f"{got}: {said}")
    expect(pods() == before, f"{name}: no pod was touched")


ONE = 'mode = "one"\n'
ALL = ('mode = "one"', 'mode = "all"')
TWO = ('mode = "one"', 'mode = "fixed"\nvalue = 2')
LIMIT = "max_targets = 1\n"
# Both ways: the fault is on the other end's pods too.
FAR = (
    'kind = "chaos-mesh"\nfor = "3s"\nspec = { action = "delay", mode = "one", direction = "both", delay = { latency = "100ms" }, '
    'selector = { labelSelectors = { app = "model-server" } }, '
    'target = { mode = "one", selector = { namespaces = ["%s"], labelSelectors = { app = "bystander" } } } }'
)
OTHERS = """
apiVersion: chaos-mesh.org/v1alpha1
kind: PodChaos
metadata: {name: of-somebody-else, namespace: ml-serving}
spec:
  action: pod-failure
  mode: one
  duration: 300s
  selector: {namespaces: [ml-serving], labelSelectors: {app: model-server}}
"""


def blast_radius():
    """What is too much, too near to the cluster itself, or not ours is refused."""
    namespace = 'namespace = "ml-serving"'
    refused("all-of-them", 5, ["3", "max_targets"], ALL, (LIMIT, ""))
    refused("more-than-max-targets", 5, ["max_targets"], TWO)
    refused("more-than-max-percent", 5, ["max_percent"], TWO, (LIMIT, "max_targets = 2\nmax_percent = 34\n"))
    refused("less-than-min-ready", 5, ["min_ready"], (LIMIT, "max_targets = 1\nmin_ready = 3\n"))
    refused("protected-namespace", 2, ["kube-system", "never touched"], (namespace, 'namespace = "kube-system"'))
    refused("namespace-not-allowed", 2, ["[safety]"], (LIMIT, LIMIT + 'namespaces = ["other"]\n'))
    refused("everything", 2, ["every pod"], ('deployment = "model-server"', 'selector = ""'))
    refused("protected-target", 2, ["kube-system", "never touched"], (KILL, FAR % "kube-system"), (ONE, ""))
    refused("target-counts", 5, ["2 of 4", "max_targets = 1"], (KILL, FAR % NAMESPACE), (ONE, ""))
    refused("target-not-allowed", 5, ["other", "[safety]"], (KILL, FAR % "other"), (ONE, ""), (LIMIT, LIMIT + 'namespaces = ["ml-serving"]\n'))
    refused("no-yes", 2, ["--yes"], extra=())


def other_peoples_faults():
    """Pods that are under somebody else's fault are not hit, and that fault is left alone."""
    kubectl("create", "-f", "-", text=OTHERS)
    wait(20, "somebody else's PodChaos is on", lambda: replicas()[1] == 2)
    time.sleep(3)  # a Service follows its endpoints a second later: until then a probe may meet the pod that is down
    refused("somebody-elses-fault-chaos-mesh", 5, ["of-somebody-else"], (METHOD, 'via = "chaos-mesh"'))
    refused("somebody-elses-fault", 5, ["of-somebody-else"])
    expect(any("of-somebody-else" in name for name in chaos()), "somebody else's fault is left alone")
    kubectl("-n", NAMESPACE, "delete", "podchaos", "of-somebody-else")
    settled()


def kubeconfig(name, change):
    """A changed copy of the admin's kubeconfig."""
    config = json.loads(kubectl("config", "view", "--raw", "-o", "json").stdout)
    change(config)
    path = WORK / f"{name}.kubeconfig"
    path.write_text(json.dumps(config))
    return {"KUBECONFIG": str(path)}


def user(name):
    """The kubeconfig of a user without any rights; a Role may give it some."""
    path = WORK / f"{name}.kubeconfig"
    make = 'source tests/kubelab/pki.sh; make_user "$LAB_DIR/pki" "$1" "/CN=$1" "$2"'
    subprocess.run(["bash", "-euc", make, "-", name, path], check=True, timeout=30)
    return path


def bad_input():
    """Each gives one clear message, and nothing happens."""
    def expired(config):
        config["users"][0]["user"] = {"token": "expired"}

    def unreachable(config):
        config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"

    deployment = 'deployment = "model-server"'
    refused("no-kubeconfig", 5, ["kubeconfig"], env={"KUBECONFIG": str(WORK / "nowhere"), "HOME": str(WORK)})
    refused("expired-token", 5, ["401", "log in again"], env=kubeconfig("expired", expired))
    refused("unreachable", 5, ["127.0.0.1:1"], env=kubeconfig("unreachable", unreachable))
    refused("no-context", 5, ["elsewhere"], (deployment, deployment + '\ncontext = "elsewhere"'))
    refused("no-namespace", 5, ["nowhere"], ('namespace = "ml-serving"', 'namespace = "nowhere"'))
    refused("no-deployment", 5, ["nobody"], (deployment, 'deployment = "nobody"'))
    refused("nothing-selected", 5, ["app=nobody"], (deployment, 'selector = "app=nobody"'))
    refused("no-service", 5, ["nobody"], ("model-server:8080", "nobody:8080"))
    refused("no-rights", 5, ["pods"], env={"KUBECONFIG": str(user("nobody"))})


BY_CHAOS_MESH = 'via = "chaos-mesh"\nfor = "3s"\n'
# A fault of each class, as `doctor --rbac` calls them; IO and HTTP faults cannot be injected here (tests/kubelab/README.md).
CLASSES = {
    "pod-kill": [],
    "pod-evict": [(METHOD, 'method = "evict"')],
    "rolling-restart": [(KILL, 'kind = "rolling-restart"'), (ONE, "")],
    "pod-failure": [(KILL, DOWN)],
    "chaos-pod": [(METHOD, 'via = "chaos-mesh"')],
    "chaos-network": [(KILL, 'kind = "network-partition"\n' + BY_CHAOS_MESH)],
    "chaos-stress": [(KILL, 'kind = "cpu-stress"\nworkers = 1\nload = 10\n' + BY_CHAOS_MESH)],
}
BRIEF = {"phase.warm-up.duration": "1s", "phase.baseline.duration": "2s", "phase.fault.duration": "8s", "phase.recovery.duration": "1s"}


def roles():
    """The Role that `doctor --rbac` prints for a class of faults is enough to run them, and less is refused by name."""
    code, printed = resbench("doctor", "--rbac", "--namespace", NAMESPACE)
    expect(code == 0, "`doctor --rbac` prints", printed)
    kubectl("apply", "-f", "-", text=printed)
    for name in ("look", *CLASSES):
        kubectl("-n", NAMESPACE, "create", "rolebinding", f"resbench-{name}", f"--role=resbench-{name}", f"--user={name}")
    refused("may-not-kill", 5, ["delete", "pods", "doctor --rbac"], env={"KUBECONFIG": str(user("look"))})
    for name, changes in CLASSES.items():
        as_user = {"KUBECONFIG": str(user(name))}
        code, said = resbench("doctor", "--namespace", NAMESPACE, env=as_user)
        expect(f"rbac {name} " in said, f"`doctor` says that {name} may be done", said)
        with alone() if name == "pod-failure" else contextlib.nullcontext():
            done = run(f"as-{name}", variant(f"as-{name}", *changes), env=as_user, **BRIEF)
        (fault,) = done["faults"]
        expect(done["clean"] and fault["applied_at_s"] is not None, f"{name} runs with its Role: {fault['mechanism']}", fault)
        settled()


def eviction():
    """A PodDisruptionBudget that says no is reported, and the run is not a pass; one that says yes lets a pod go."""
    scenario = variant("evict", (METHOD, 'method = "evict"'))
    before = pods()
    kubectl("-n", NAMESPACE, "patch", "pdb", "model-server", "--type=merge", "-p", '{"spec": {"minAvailable": 3}}')
    done = run("refused-eviction", scenario, codes=(3,))
    said = json.dumps(done)
    expect(pods() == before and "PodDisruptionBudget" in said, "the budget's no stands in the report; no pod was touched", said)
    kubectl("-n", NAMESPACE, "patch", "pdb", "model-server", "--type=merge", "-p", '{"spec": {"minAvailable": 2}}')
    done = run("eviction", scenario)
    expect(len(set(before) - set(pods())) == 1 and done["faults"][0]["proof"]["proven"], "with room in the budget one pod is evicted")
    settled()


def rolling_restart():
    """A rollout where that takes one pod away at a time; where it would take all, or wait for somebody, pods are deleted in turn."""
    scenario = variant("rolling", (KILL, 'kind = "rolling-restart"'), (ONE, ""))
    marks = lambda: get("deployment", "model-server")["spec"]["template"]["metadata"].get("annotations", {})
    restarted = lambda: marks().get("kubectl.kubernetes.io/restartedAt")
    change = lambda spec: kubectl("-n", NAMESPACE, "patch", "deployment", "model-server", "--type=merge", "-p", json.dumps({"spec": spec}))
    (fault,) = run("rollout", scenario)["faults"]
    expect("rollout restart" in fault["mechanism"] and restarted(), f"it rolls out: {fault['mechanism']}", fault)
    settled()
    for name, spec in {"recreate": {"strategy": {"type": "Recreate", "rollingUpdate": None}}, "paused": {"paused": True}}.items():
        before = restarted()
        change(spec)
        (fault,) = run(f"rolling-{name}", scenario)["faults"]
        change({"strategy": {"type": "RollingUpdate"}, "paused": False})
        expect("one after another" in fault["mechanism"] and restarted() == before, f"{name}: in turn: {fault['mechanism']}", fault)
        settled()


def api_server(alive):
    """Kills the API server, or starts it again as it was."""
    pid = LAB / "pid/kube-apiserver"
    if alive:
        with open(LAB / "log/kube-apiserver.log", "ab") as log:
            child = subprocess.Popen(api_server.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        pid.write_text(str(child.pid))
        wait(60, "the API server is ready", lambda: kubectl("get", "--raw", "/readyz", good=False).returncode == 0)
    else:
        process = int(pid.read_text())
        api_server.command = pathlib.Path(f"/proc/{process}/cmdline").read_text().split("\0")[:-1]
        os.kill(process, signal.SIGKILL)


def api_server_gone():
    """The API server dies in mid-fault: back in time, the fault is undone; not back, the run says what is left."""
    scenario = variant("scale", (KILL, DOWN))
    with alone():
        with started("api-server-back", scenario) as child:
            on(child, "api-server-back", down)
            api_server(alive=False)
            time.sleep(2)
            api_server(alive=True)
            code = child.wait(120)
        said = (WORK / "api-server-back.txt").read_text()
        expect(code in (0, 1, 3) and not down(), f"the API server came back: undone, exit code {code}", f"{code}: {said}")
        settled(1)
        nothing_to_revert()
        with started("api-server-gone", scenario) as child:
            on(child, "api-server-gone", down)
            api_server(alive=False)
            code = child.wait(180)
        api_server(alive=True)
        said = (WORK / "api-server-gone.txt").read_text()
        expect(code == 4 and down(), "the API server stayed away: exit code 4, the replica is held down still", f"{code}: {said}")
        code, said = revert_elsewhere()
        expect(code == 0 and not down(), "`revert` scales back", said)
        settled(1)
        nothing_to_revert()


def no_crd():
    """Without the CRD the refusal says what is missing. Comes last: it takes Chaos Mesh away."""
    kubectl("delete", "crd", "podchaos.chaos-mesh.org")
    refused("no-crd", 5, ["Chaos Mesh"], (METHOD, 'via = "chaos-mesh"'))
    code, said = resbench("doctor")
    expect(code == 0 and "missing" in said, "`doctor` says so too", said)


STEPS = [
    deploy, pod_kill, usage_and_probe, pod_kill_by_chaos_mesh, kill_nine_native, kill_nine_chaos_mesh, manifests, blast_radius,
    other_peoples_faults, bad_input, roles, eviction, rolling_restart, api_server_gone, no_crd,
]


def main():
    chosen = sys.argv[1:]
    namespaces = [os.readlink(f"/proc/self/ns/{ns}") for ns in ("pid", "mnt")]
    (WORK / "sandbox").write_text(" ".join([str(LAB), *namespaces]) + "\n")
    deploy()
    untouched = bystanders()
    for step in STEPS[1:]:
        if not chosen or step.__name__ in chosen:
            say(f"{step.__name__}: {step.__doc__.splitlines()[0]}")
            step()
    expect(bystanders() == untouched, "no bystander was touched: other labels, other namespaces")
    expect(not left_of(), "no process of resbench is left", left_of())


if __name__ == "__main__":
    main()
