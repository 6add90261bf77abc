#!/usr/bin/env bash
# Makes a Docker image of a resbench binary: the binary, the libraries that it loads, and bash for health checks. From
# scratch, by `docker import`: no registry is asked.
#
#   scenarios/docker/image.sh RESBENCH [NAME]      NAME is resbench:local where it is not given
set -euo pipefail
resbench=${1:?give the path of a resbench binary}
name=${2:-resbench:local}

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/bin" "$root/tmp"
cp -L "$resbench" "$root/bin/resbench"
cp -L "$(command -v bash)" "$root/bin/bash"
ln -s bash "$root/bin/sh"
# `ldd` names libraries as `name => /path (…)` and the loader as `/path (…)`.
for library in $({ ldd "$resbench"; ldd "$(command -v bash)"; } | grep -o '/[^ ]*' | sort -u); do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
# http-ok PORT PATH: exit code 0 when that answers with status 200.
cat >"$root/bin/http-ok" <<'SCRIPT'
exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
printf 'GET %s HTTP/1.0\r\n\r\n' "$2" >&3
read -r -t 1 version status rest <&3
[ "$status" = 200 ]
SCRIPT
tar -C "$root" -c . | docker import --change 'ENV PATH=/bin' - "$name" >/dev/null
echo "$name"
