#!/usr/bin/env python3
"""Registers the shipped models with a real MLflow server, as a pipeline would: a run each, its artifacts, a version of it.

usage: register.py URL SCENARIOS

Versions 1 and 2 of `fraud` are whole; of version 3 only half of model.json was uploaded. `champion` is version 1. Each
version has the SHA-256 of its files in tags. Only the standard library: what is tested is the wire.
"""

import hashlib
import json
import pathlib
import sys
import urllib.request


def call(method, url, body=None, kind="application/json"):
    request = urllib.request.Request(url, data=body, method=method, headers={"content-type": kind})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"{}")


def post(server, path, **body):
    return call("POST", f"{server}/api/2.0/mlflow/{path}", json.dumps(body).encode())


def register(server, files, sums):
    run = post(server, "runs/create", experiment_id="0")["run"]["info"]
    place = run["artifact_uri"].removeprefix("mlflow-artifacts:/").lstrip("/")
    for name, bytes in files.items():
        url = f"{server}/api/2.0/mlflow-artifacts/artifacts/{place}/model/{name}"
        call("PUT", url, bytes, "application/octet-stream")
    tags = [{"key": f"sha256.{name}", "value": sum} for name, sum in sums.items()]
    source = f"{run['artifact_uri']}/model"
    made = post(server, "model-versions/create", name="fraud", source=source, run_id=run["run_id"], tags=tags)
    return made["model_version"]["version"]


def main():
    server, scenarios = sys.argv[1], pathlib.Path(sys.argv[2])
    post(server, "registered-models/create", name="fraud")
    for folder, whole in (("fraud-v1", True), ("fraud-v2", True), ("fraud-v2", False)):
        files = {f.name: f.read_bytes() for f in (scenarios / "models" / folder).iterdir()}
        sums = {name: hashlib.sha256(bytes).hexdigest() for name, bytes in files.items()}
        if not whole:
            files["model.json"] = files["model.json"][: len(files["model.json"]) // 2]
        print("registered version", register(server, files, sums))
    post(server, "registered-models/alias", name="fraud", alias="champion", version="1")


if __name__ == "__main__":
    main()
