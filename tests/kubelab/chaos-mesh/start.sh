# Chaos Mesh outside of pods: the controller and one daemon run as processes of
# the node. Sourced by sandbox.sh.
# shellcheck shell=bash disable=SC2154,SC2016

webhook() { # NAME RESOURCE
    cat <<YAML
- name: $1.kb.io
  failurePolicy: Fail
  sideEffects: None
  admissionReviewVersions: [v1]
  timeoutSeconds: 5
  clientConfig: {caBundle: $(base64 -w0 "$pki/ca.crt"), url: "https://127.0.0.1:9443/$1"}
  rules: [{apiGroups: [chaos-mesh.org], apiVersions: [v1alpha1], operations: [CREATE, UPDATE], resources: ["$2"]}]
YAML
}

# By URL instead of by Service, since the controller is no pod.
webhook_configurations() {
    local verb resource
    for verb in mutate validate; do
        printf -- '---\napiVersion: admissionregistration.k8s.io/v1\nkind: %s\nmetadata: {name: chaos-mesh}\nwebhooks:\n' \
            "$([[ $verb == mutate ]] && echo MutatingWebhookConfiguration || echo ValidatingWebhookConfiguration)"
        for resource in podchaos networkchaos iochaos stresschaos httpchaos timechaos dnschaos schedule workflow; do
            webhook "$verb-chaos-mesh-org-v1alpha1-$resource" "$resource"
        done
    done
    webhook validate-auth '*'
}

start_chaos_controller() {
    local certs=$LAB_DIR/chaos-mesh
    mkdir "$certs"
    make_cert "$pki" chaos-webhook /CN=chaos-webhook extendedKeyUsage=serverAuth subjectAltName=IP:127.0.0.1
    cp "$pki/chaos-webhook.crt" "$certs/tls.crt"
    cp "$pki/chaos-webhook.key" "$certs/tls.key"
    start chaos-controller-manager env NAMESPACE=chaos-mesh TARGET_NAMESPACE= CLUSTER_SCOPED=true SECURITY_MODE=true \
        ENABLE_LEADER_ELECTION=false WEBHOOK_HOST=127.0.0.1 WEBHOOK_PORT=9443 METRICS_HOST=127.0.0.1 METRICS_PORT=10080 \
        CERTS_DIR="$certs" POD_FAILURE_PAUSE_IMAGE=localhost/lab/pause:1 CHAOS_DAEMON_SERVICE_PORT=31767 \
        CHAOS_DNS_SERVICE_PORT=9288 TZ=UTC chaos-controller-manager
    await 60 chaos-controller-manager bash -c ': </dev/tcp/127.0.0.1/9443'
}

# The daemon looks for /host-sys and for helpers in /usr/local/bin, as in its
# own image. An overlay gives it such a root without touching the machine's.
run_chaos_daemon() {
    local files=/run/chaos-daemon/files root=/run/chaos-daemon/root dir
    mkdir -p "$files"/{host-sys,lab-bin,usr/local/bin} "$root"
    cp "$here"/chaos-mesh/helpers/* "$files/usr/local/bin/"
    mount -t overlay overlay -o "lowerdir=$files:/" "$root"
    for dir in proc sys dev run tmp; do
        mount --rbind "/$dir" "$root/$dir"
    done
    mount --rbind /sys "$root/host-sys"
    mount --bind "$LAB_BIN" "$root/lab-bin"
    # It opens devices.allow of its own cgroup, which the root cgroup does not have.
    echo "$BASHPID" >"/sys/fs/cgroup/devices/$LAB_CGROUP/cgroup.procs"
    # stress-ng wants to write to its working directory, and the overlay is read-only.
    exec chroot "$root" env --chdir=/run/chaos-daemon /lab-bin/chaos-daemon -runtime containerd \
        -runtime-socket-path /run/containerd/containerd.sock -grpc-port 31767 -http-port 31766
}

start_chaos_daemon() {
    export here LAB_BIN LAB_CGROUP
    export -f run_chaos_daemon
    start chaos-daemon unshare --mount --propagation slave bash -euo pipefail -c run_chaos_daemon
    await 30 chaos-daemon bash -c ': </dev/tcp/127.0.0.1/31767'
    # The controller finds the daemon of a node by this slice.
    logged chaos-mesh kubectl apply -f - <<YAML
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: chaos-daemon-1, namespace: chaos-mesh, labels: {kubernetes.io/service-name: chaos-daemon}}
addressType: IPv4
ports: [{name: grpc, port: 31767, protocol: TCP}]
endpoints: [{addresses: ["$NODE_IP"], nodeName: node1, conditions: {ready: true}}]
YAML
}

# The CRDs come from the controller's module, the newest one to be had, but its API
# module is newer still and writes a field that they lack. The API server would
# drop it, and the webhook then refuses every status update: "Cannot update chaos spec".
add_partition_behavior() { # CRD PATH_IN_SPEC
    logged chaos-mesh kubectl patch crd "$1.chaos-mesh.org" --type=json -p "[{\"op\": \"add\",
    \"path\": \"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/$2partitionBehavior\",
    \"value\": {\"type\": \"string\", \"enum\": [\"drop\", \"reject\"]}}]"
}

# The controller only starts with all its kinds defined.
logged chaos-mesh kubectl apply --server-side -f "$LAB_CRDS"
add_partition_behavior networkchaos ""
add_partition_behavior podnetworkchaos iptables/items/properties/
logged chaos-mesh kubectl wait --for=condition=Established --timeout=30s -f "$LAB_CRDS"
logged chaos-mesh kubectl create namespace chaos-mesh
start_chaos_controller
logged chaos-mesh kubectl apply -f <(webhook_configurations)
start_chaos_daemon
# The API server takes a moment to learn of the webhooks.
await 30 chaos-controller-manager bash -c 'kubectl create --dry-run=server -f "$1" 2>&1 | grep -q "admission webhook"' \
    - "$here/chaos-mesh/refused.yaml"
