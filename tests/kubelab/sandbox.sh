#!/usr/bin/env bash
# Pid 1 of the sandbox: sets the node up, starts Kubernetes, runs CMD, and by
# ending ends every other process of the lab. `lab run` starts it and sets
# LAB_DIR, LAB_BIN, LAB_IMAGES, LAB_CRDS, LAB_CGROUP, LAB_ROLES, LAB_CHAOS_MESH, LAB_TIMEOUT.
set -Eeuo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=pki.sh
source "$here/pki.sh"
export NODE_IP=10.99.0.1
readonly service_cidr=10.96.0.0/24 pki=$LAB_DIR/pki logs=$LAB_DIR/log

# Exit codes 125 and 124 (from timeout) tell the lab's own failures from CMD's.
fail() {
    echo "lab: $1 failed" >&2
    tail -n 15 "$logs/${2:-}.log" >&2 2>/dev/null || true
    exit 125
}
trap 'fail "line $LINENO of ${BASH_SOURCE[0]##*/}"' ERR

start() { # NAME CMD...: in the background, with a log and a pid file
    local name=$1
    shift
    "$@" </dev/null >"$logs/$name.log" 2>&1 &
    echo $! >"$LAB_DIR/pid/$name"
    disown # CMD may kill it, which is no news
}

logged() { # NAME CMD...: with its output in a log
    local name=$1
    shift
    "$@" >>"$logs/$name.log" 2>&1 || fail "$*" "$name"
}

await() { # SECONDS NAME CMD...: until CMD succeeds or the process NAME has died
    local name=$2 deadline=$((SECONDS + $1))
    shift 2
    until "$@" &>/dev/null; do
        if ((SECONDS >= deadline)) || ! kill -0 "$(<"$LAB_DIR/pid/$name")" 2>/dev/null; then
            fail "start of $name" "$name"
        fi
        sleep 0.1
    done
}

set_up_mounts() {
    # The kubelet and the container runtime need mounts to spread into the pods.
    mount --make-rshared /
    mount -t tmpfs tmpfs /run
    # The device plugin manager insists on /var/lib/kubelet; the machine's disk stays as it is.
    mkdir -p /run/var-lib/{upper,work}
    mount -t overlay overlay -o lowerdir=/var/lib,upperdir=/run/var-lib/upper,workdir=/run/var-lib/work /var/lib
    # The kubelet wants these settings, which belong to the whole machine: show them to it.
    local setting file
    for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
        kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
        file=/run/sysctl/${setting%=*}
        mkdir -p "${file%/*}"
        echo "${setting#*=}" >"$file"
        mount --bind "$file" "/proc/sys/${setting%=*}"
    done
}

set_up_network() {
    ip link set lo up
    # The kubelet refuses a loopback address as node IP, and not every kernel has dummy devices.
    ip link add node0 type bridge
    ip addr add "$NODE_IP/32" dev node0
    ip link set node0 up
    # There is no default route; without one, packets to a ClusterIP would never reach kube-proxy's rules.
    ip route add "$service_cidr" dev node0
    echo 1 >/proc/sys/net/ipv4/ip_forward # of this network namespace only
}

set_up_cgroups() {
    local hierarchy cpuset=/sys/fs/cgroup/cpuset file
    for hierarchy in /sys/fs/cgroup/*/; do
        mkdir -p "$hierarchy$LAB_CGROUP"
    done
    for file in cpuset.cpus cpuset.mems; do # empty in a new v1 cpuset, which then refuses processes
        cat "$cpuset/$file" >"$cpuset/$LAB_CGROUP/$file"
    done
}

make_config() {
    local file
    for file in kubelet.yaml containerd.toml cni.conflist; do
        sed -e "s|@LAB_DIR@|$LAB_DIR|g; s|@NODE_IP@|$NODE_IP|g; s|@LAB_CGROUP@|$LAB_CGROUP|g" "$here/config/$file" >"$LAB_DIR/config/$file"
    done
    mv "$LAB_DIR/config/cni.conflist" "$LAB_DIR/config/cni/10-lab.conflist"

    make_ca "$pki"
    make_cert "$pki" apiserver /CN=kube-apiserver extendedKeyUsage=serverAuth \
        "subjectAltName=IP:127.0.0.1,IP:$NODE_IP,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc"
    make_cert "$pki" kubelet /CN=node1 extendedKeyUsage=serverAuth "subjectAltName=IP:$NODE_IP,DNS:node1"
    make_user "$pki" admin /O=system:masters/CN=admin "$LAB_DIR/admin.kubeconfig"
    make_user "$pki" node1 /O=system:nodes/CN=system:node:node1 "$pki/kubelet.kubeconfig"
    local name
    for name in kube-controller-manager kube-scheduler kube-proxy; do
        make_user "$pki" "$name" "/CN=system:$name" "$pki/$name.kubeconfig"
    done
}

start_api_server() {
    start etcd kubelab etcd --data-dir "$LAB_DIR/etcd"
    start kube-apiserver kubelab kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
        --bind-address=127.0.0.1 --advertise-address="$NODE_IP" --endpoint-reconciler-type=none \
        --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
        --client-ca-file="$pki/ca.crt" --authorization-mode=Node,RBAC --allow-privileged=true \
        --service-cluster-ip-range="$service_cidr" --service-account-issuer=https://kubernetes.default.svc \
        --service-account-key-file="$pki/service-accounts.key" --service-account-signing-key-file="$pki/service-accounts.key" \
        --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key" \
        --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP
    await 60 kube-apiserver kubectl get --raw /readyz
}

start_controllers() {
    local name
    for name in kube-controller-manager kube-scheduler; do
        local config=$pki/$name.kubeconfig flags=()
        # A dead node is noticed after 10 s instead of 50 s.
        [[ $name == kube-scheduler ]] || flags=(--service-account-private-key-file="$pki/service-accounts.key"
            --root-ca-file="$pki/ca.crt" --use-service-account-credentials=true --allocate-node-cidrs=false
            --node-monitor-period=1s --node-monitor-grace-period=10s)
        start "$name" kubelab "$name" --kubeconfig="$config" --authentication-kubeconfig="$config" \
            --authorization-kubeconfig="$config" --bind-address=127.0.0.1 --leader-elect=false "${flags[@]}"
    done
}

start_node() {
    local socket=/run/containerd/containerd.sock image
    await 30 containerd ctr --address "$socket" version
    for image in "$LAB_IMAGES"/*.tar; do
        logged images ctr --address "$socket" --namespace k8s.io image import "$image"
    done
    start kubelet kubelab kubelet --config="$LAB_DIR/config/kubelet.yaml" --kubeconfig="$pki/kubelet.kubeconfig" \
        --root-dir="$LAB_DIR/kubelet" --hostname-override=node1 --node-ip="$NODE_IP"
    # 0 leaves the machine-wide connection tracking settings alone.
    start kube-proxy kubelab kube-proxy --kubeconfig="$pki/kube-proxy.kubeconfig" --hostname-override=node1 \
        --proxy-mode=iptables --iptables-localhost-nodeports=false \
        --healthz-bind-address=127.0.0.1:10256 --metrics-bind-address=127.0.0.1:10249 \
        --conntrack-max-per-core=0 --conntrack-min=0 --conntrack-tcp-timeout-established=0 \
        --conntrack-tcp-timeout-close-wait=0 --conntrack-udp-timeout=0 --conntrack-udp-timeout-stream=0
    await 60 kubelet kubectl wait --for=condition=Ready node/node1 --timeout=1s
    # Bare pods are refused until the controller manager has made it.
    await 60 kube-controller-manager kubectl -n default get serviceaccount default
}

# Each file holds one Role or ClusterRole; the user gets its name.
make_role_users() {
    local file kind name namespace
    while read -r file; do
        logged roles kubectl apply -f "$file"
        read -r kind name namespace < <(kubectl get -f "$file" -o jsonpath='{.kind} {.metadata.name} {.metadata.namespace}{"\n"}')
        make_user "$pki" "$name" "/CN=$name" "$LAB_DIR/$name.kubeconfig"
        case $kind in
        Role) logged roles kubectl -n "$namespace" create rolebinding "$name" --role="$name" --user="$name" ;;
        ClusterRole) logged roles kubectl create clusterrolebinding "$name" --clusterrole="$name" --user="$name" ;;
        *) fail "role $file: a $kind is no role, which" ;;
        esac
    done < <([[ -z $LAB_ROLES ]] || printf '%s\n' "$LAB_ROLES")
}

mkdir -p "$LAB_DIR"/{bin,config/cni,log,pid,pki}
ln -s "$LAB_BIN/kubelab" "$LAB_DIR/bin/kubectl"
export PATH="$LAB_DIR/bin:$LAB_BIN:$PATH" KUBECONFIG=$LAB_DIR/admin.kubeconfig KUBECACHEDIR=$LAB_DIR/kubectl-cache

set_up_mounts
set_up_network
set_up_cgroups
make_config
start containerd containerd --config "$LAB_DIR/config/containerd.toml"
start_api_server
start_controllers
start_node
make_role_users
if [[ $LAB_CHAOS_MESH == yes ]]; then
    # shellcheck source=chaos-mesh/start.sh
    source "$here/chaos-mesh/start.sh"
fi
echo "lab: ready after ${SECONDS} s" >&2

# CMD sees Ctrl-C again, which a background process of a script does not.
code=0
timeout --foreground --kill-after=10s "$LAB_TIMEOUT" env --default-signal=INT,QUIT "$@" || code=$?
if ((code == 124)); then
    echo "lab: stopped, ran longer than $LAB_TIMEOUT" >&2
fi
exit "$code"
