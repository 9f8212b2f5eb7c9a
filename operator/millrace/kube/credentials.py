"""Where the API server is and who we are to it: a pod's service account, or a kubeconfig (certificate, token or exec plugin)."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_EXEC_TIMEOUT_SECONDS = 60


class NoCluster(Exception):
    """No usable cluster configuration; the message says what to do."""


@dataclass(frozen=True)
class Credentials:
    """Server address, TLS context and a function that gives the current bearer token (or None)."""

    server: str
    tls: ssl.SSLContext | bool
    token: Callable[[], str | None]
    namespace: str = "default"
    raw: dict[str, Any] = field(default_factory=dict, repr=False)


def load(context: str | None = None) -> Credentials:
    """The pod's own credentials inside a cluster, else those of the kubeconfig's (current) context.

    Raises :class:`NoCluster` when neither is there.
    """
    if context is None and "KUBECONFIG" not in os.environ and (_SERVICE_ACCOUNT / "token").exists():
        return _in_cluster()
    return from_kubeconfig(_kubeconfig_path(), context)


def _in_cluster() -> Credentials:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    return Credentials(
        server=f"https://{host}:{port}",
        tls=ssl.create_default_context(cafile=str(_SERVICE_ACCOUNT / "ca.crt")),
        token=lambda: (_SERVICE_ACCOUNT / "token").read_text().strip(),
        namespace=(_SERVICE_ACCOUNT / "namespace").read_text().strip(),
        raw={"ca": str(_SERVICE_ACCOUNT / "ca.crt")},
    )


def _kubeconfig_path() -> Path:
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    path = Path(named) if named else Path.home() / ".kube" / "config"
    if not path.exists():
        raise NoCluster(f"no cluster to talk to: {path} does not exist; set KUBECONFIG, or run `millrace local up`")
    return path


def from_kubeconfig(path: Path, context: str | None = None) -> Credentials:
    """Credentials of one context of a kubeconfig file; the current one when `context` is None."""
    config = yaml.safe_load(path.read_text()) or {}
    wanted = context or config.get("current-context")
    chosen = _named(config, "contexts", wanted, path)["context"]
    cluster = _named(config, "clusters", chosen["cluster"], path)["cluster"]
    user = _named(config, "users", chosen["user"], path)["user"] or {} if chosen.get("user") else {}
    base = path.parent
    return Credentials(
        server=str(cluster["server"]).rstrip("/"),
        tls=_tls(cluster, user, base),
        token=_token(user, base),
        namespace=chosen.get("namespace") or "default",
        raw={"cluster": cluster, "user": user},
    )


def _named(config: dict[str, Any], section: str, name: str | None, path: Path) -> dict[str, Any]:
    for entry in config.get(section) or []:
        if entry["name"] == name:
            return dict(entry)
    if name is None:
        raise NoCluster(f"{path}: no context is chosen; see `kubectl config use-context`")
    raise NoCluster(f"{path}: no entry {name!r} under {section}; see `kubectl config get-contexts`")


def _tls(cluster: dict[str, Any], user: dict[str, Any], base: Path) -> ssl.SSLContext | bool:
    if not str(cluster["server"]).startswith("https"):
        return True
    context = ssl.create_default_context(
        cafile=str(base / cluster["certificate-authority"]) if "certificate-authority" in cluster else None,
        cadata=_decoded(cluster["certificate-authority-data"]).decode() if "certificate-authority-data" in cluster else None,
    )
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _load_client_certificate(context, user, base)
    return context


def _load_client_certificate(context: ssl.SSLContext, user: dict[str, Any], base: Path) -> None:
    if "client-certificate" in user:
        context.load_cert_chain(base / user["client-certificate"], base / user["client-key"])
    elif "client-certificate-data" in user:
        # The ssl module reads certificates from files only; the folder is private and gone at once.
        with tempfile.TemporaryDirectory(prefix="millrace-") as folder:
            certificate, key = Path(folder) / "c.pem", Path(folder) / "k.pem"
            certificate.write_bytes(_decoded(user["client-certificate-data"]))
            key.write_bytes(_decoded(user["client-key-data"]))
            context.load_cert_chain(certificate, key)


def _decoded(data: str) -> bytes:
    return base64.b64decode(data)


def _token(user: dict[str, Any], base: Path) -> Callable[[], str | None]:
    if "exec" in user:
        return _ExecToken(user["exec"])
    if "tokenFile" in user:
        return lambda: (base / user["tokenFile"]).read_text().strip()
    return lambda: user.get("token")


class _ExecToken:
    """Asks an exec plugin (as `aws eks get-token`) and keeps its answer until it expires."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._token: str | None = None
        self._expires: datetime | None = None

    def __call__(self) -> str | None:
        if self._token is None or (self._expires is not None and datetime.now(UTC) >= self._expires):
            status = self._run()["status"]
            expires = status.get("expirationTimestamp")
            self._token, self._expires = status.get("token"), datetime.fromisoformat(expires) if expires else None
        return self._token

    def _run(self) -> dict[str, Any]:
        environment = {**os.environ, **{e["name"]: e["value"] for e in self._spec.get("env") or []}}
        info = {"apiVersion": self._spec["apiVersion"], "kind": "ExecCredential", "spec": {"interactive": False}}
        environment["KUBERNETES_EXEC_INFO"] = json.dumps(info)
        command = [self._spec["command"], *(self._spec.get("args") or [])]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, timeout=_EXEC_TIMEOUT_SECONDS, check=True)
            return dict(json.loads(done.stdout))
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise NoCluster(f"the kubeconfig's login command {command[0]!r} failed: {error}") from error
