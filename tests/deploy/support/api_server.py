"""A real Kubernetes API server for tests: kube-apiserver with its etcd inside, from tests/deploy/apiserver.

There is no kubelet and no controller: objects are admitted, defaulted, mutated and validated, and nothing runs.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3

from tests.deploy.support.tools import ROOT, tool
from tests.polling import until_sync
from tests.servers.ports import free_port

DEFINITIONS = ROOT / "build/tools/crds"
"""Custom resource definitions, one file each; put there by tests/deploy/install-tools."""

_TOKEN = "token-of-the-test"

Object = dict[str, Any]


class Rejected(Exception):
    """The server's message."""


class ApiServer:
    """Creates objects, as `kubectl create` does."""

    def __init__(self, port: int, certificate: Path) -> None:
        self._url = f"https://127.0.0.1:{port}"
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}
        headers = {"authorization": f"Bearer {_TOKEN}"}
        self._certificate = certificate
        self._pool = urllib3.PoolManager(headers=headers, ca_certs=str(certificate), retries=False, timeout=30)

    def ready(self) -> bool:
        """Whether it takes requests. It makes its certificate itself."""
        if not self._certificate.exists():
            return False
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            return self._pool.request("GET", f"{self._url}/readyz").status == 200
        return False

    def create(self, item: Object, *, namespace: str = "default", dry_run: bool = False) -> Object:
        """The object as it is stored, or would be.

        Raises:
            Rejected: it is not taken.
        """
        query = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        path = self._path(item, item["metadata"].get("namespace", namespace))
        answer = self._pool.request("POST", f"{self._url}{path}?{_query(query)}", json=item)
        if answer.status >= 400:
            raise Rejected(answer.json()["message"])
        return answer.json()

    def get(self, path: str) -> Object:
        """What is at a path."""
        return self._pool.request("GET", self._url + path).json()

    def delete(self, item: Object) -> None:
        """Remove an object that has no namespace."""
        answer = self._pool.request("DELETE", f"{self._url}{self._path(item, '')}/{item['metadata']['name']}")
        assert answer.status < 400, answer.data

    def _path(self, item: Object, namespace: str) -> str:
        version, kind = item["apiVersion"], item["kind"]
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if (version, kind) not in self._plurals:
            for resource in self.get(base).get("resources", ()):
                if "/" not in resource["name"]:
                    self._plurals[version, resource["kind"]] = resource["name"], resource["namespaced"]
        plural, namespaced = self._plurals[version, kind]
        return f"{base}/namespaces/{namespace}/{plural}" if namespaced else f"{base}/{plural}"


def _query(values: dict[str, str]) -> str:
    return "&".join(f"{key}={value}" for key, value in values.items())


@contextlib.contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    """A running server with its data in `folder`."""
    program = tool("apiserver")
    subprocess.run(["openssl", "genrsa", "-out", folder / "key.pem", "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f"{_TOKEN},admin,admin,system:masters\n")
    port = free_port()
    flags = {
        "etcd-dir": folder / "etcd",
        "secure-port": port,
        "bind-address": "127.0.0.1",
        "cert-dir": folder / "certificates",
        "service-account-key-file": folder / "key.pem",
        "service-account-signing-key-file": folder / "key.pem",
        "service-account-issuer": "https://kubernetes.default.svc",
        "token-auth-file": folder / "tokens.csv",
        "authorization-mode": "AlwaysAllow",
        "disable-admission-plugins": "ServiceAccount",  # there is no controller to make the default account
        "service-cluster-ip-range": "10.0.0.0/24",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, *(f"--{k}={v}" for k, v in flags.items())], stdout=log, stderr=log)
    server = ApiServer(port, folder / "certificates/apiserver.crt")

    def ready() -> bool:
        assert process.poll() is None, (folder / "log").read_text()[-3000:]
        return server.ready()

    try:
        until_sync(ready, seconds=120, what="the API server")
        yield server
    finally:
        process.kill()
        process.wait()
