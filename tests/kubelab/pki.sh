# Certificates and kubeconfigs for the lab; sourced. One CA signs everything,
# and the subject of a client certificate is the Kubernetes user (CN) and group (O).
# shellcheck shell=bash

make_ca() { # DIR
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=lab-ca \
        -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature -keyout "$1/ca.key" -out "$1/ca.crt" 2>/dev/null
    openssl genrsa -out "$1/service-accounts.key" 2048 2>/dev/null
}

make_cert() { # DIR NAME SUBJECT EXTENSION...
    local dir=$1 name=$2 subject=$3
    shift 3
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$subject" \
        -keyout "$dir/$name.key" -out "$dir/$name.csr" 2>/dev/null
    openssl x509 -req -in "$dir/$name.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 365 \
        -extfile <(printf '%s\n' keyUsage=critical,digitalSignature "$@") -out "$dir/$name.crt" 2>/dev/null
    rm "$dir/$name.csr"
}

make_user() { # DIR NAME SUBJECT OUT.kubeconfig
    make_cert "$1" "$2" "$3" extendedKeyUsage=clientAuth
    cat >"$4" <<CONFIG
apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: $(base64 -w0 "$1/ca.crt")}}]
users: [{name: $2, user: {client-certificate-data: $(base64 -w0 "$1/$2.crt"), client-key-data: $(base64 -w0 "$1/$2.key")}}]
contexts: [{name: lab, context: {cluster: lab, user: $2}}]
current-context: lab
CONFIG
}
