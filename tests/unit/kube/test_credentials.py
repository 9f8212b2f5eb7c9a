"""Where the API server is and who we are to it, from the forms that kubeconfigs take."""

from __future__ import annotations

import base64
import json
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from millrace.kube import credentials
from millrace.kube.credentials import NoCluster, from_kubeconfig, load

Object = dict[str, Any]


@pytest.fixture(scope="module")
def certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM), private


def written(folder: Path, user: Object | None, cluster: Object | None = None, **context: Any) -> Path:
    path = folder / "config"
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", **context}}],
        "clusters": [{"name": "c", "cluster": cluster or {"server": "https://api.test:6443/"}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def data(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


def test_a_token_and_the_namespace_of_the_context(tmp_path: Path) -> None:
    made = from_kubeconfig(written(tmp_path, {"token": "secret"}, namespace="team-a"))
    assert (made.server, made.token(), made.namespace) == ("https://api.test:6443", "secret", "team-a")
    assert isinstance(made.tls, ssl.SSLContext)
    assert made.tls.verify_mode is ssl.CERT_REQUIRED


def test_a_token_in_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one\n")
    made = from_kubeconfig(written(tmp_path, {"tokenFile": "token"}))
    assert made.token() == "one"
    (tmp_path / "token").write_text("two\n")
    assert made.token() == "two"


@pytest.mark.parametrize("inline", [True, False], ids=["inline", "in files beside the kubeconfig"])
def test_a_client_certificate_and_an_authority(tmp_path: Path, certificate: tuple[bytes, bytes], inline: bool) -> None:
    public, private = certificate
    if inline:
        user: Object = {"client-certificate-data": data(public), "client-key-data": data(private)}
        cluster: Object = {"server": "https://api.test", "certificate-authority-data": data(public)}
    else:
        (tmp_path / "c.pem").write_bytes(public)
        (tmp_path / "k.pem").write_bytes(private)
        user = {"client-certificate": "c.pem", "client-key": "k.pem"}
        cluster = {"server": "https://api.test", "certificate-authority": "c.pem"}
    made = from_kubeconfig(written(tmp_path, user, cluster))
    assert isinstance(made.tls, ssl.SSLContext)
    assert [dict(x[0] for x in c["subject"])["commonName"] for c in made.tls.get_ca_certs()] == ["test"]
    assert made.token() is None


def test_a_cluster_that_is_not_to_be_verified_is_not(tmp_path: Path) -> None:
    cluster = {"server": "https://api.test", "insecure-skip-tls-verify": True}
    made = from_kubeconfig(written(tmp_path, {"token": "t"}, cluster))
    assert isinstance(made.tls, ssl.SSLContext)
    assert (made.tls.verify_mode, made.tls.check_hostname) == (ssl.CERT_NONE, False)


@pytest.mark.parametrize("user", [None, {}], ids=["nothing", "empty"])
def test_a_user_without_anything_is_nobody(tmp_path: Path, user: Object | None) -> None:
    made = from_kubeconfig(written(tmp_path, user, {"server": "http://localhost:8080"}))
    assert (made.token(), made.tls, made.namespace) == (None, True, "default")


# -- the exec plugin -----------------------------------------------------------------------------------------------------


def plugin(folder: Path, expires: str | None) -> Object:
    """A script that answers with a new token each time, as `aws eks get-token` does."""
    status: Object = {"token": "COUNT"}
    if expires:
        status["expirationTimestamp"] = expires
    answer = json.dumps({"kind": "ExecCredential", "status": status})
    script = folder / "login"
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$KUBERNETES_EXEC_INFO" >{folder}/info\n'
        f"echo x >>{folder}/calls\n"
        f"n=$(wc -l <{folder}/calls | tr -d ' ')\n"
        f"""echo '{answer}' | sed "s/COUNT/$CLUSTER-$1-$n/"\n"""
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(script),
        "args": ["get-token"],
        "env": [{"name": "CLUSTER", "value": "blue"}],
    }


# expiry, second token, why
EXPIRIES = [
    (None, "blue-get-token-1", "an answer without an end is kept"),
    ("2999-01-01T00:00:00Z", "blue-get-token-1", "the answer still holds"),
    ("2001-01-01T00:00:00Z", "blue-get-token-2", "the answer has run out"),
    ("2999-01-01T00:00:00+02:00", "blue-get-token-1", "another notation of time"),
]


@pytest.mark.parametrize(("expires", "second", "why"), EXPIRIES, ids=[e[-1] for e in EXPIRIES])
def test_an_exec_plugin_is_asked_when_its_answer_has_run_out(tmp_path: Path, expires: str | None, second: str, why: str) -> None:
    made = from_kubeconfig(written(tmp_path, {"exec": plugin(tmp_path, expires)}))
    assert made.token() == "blue-get-token-1"
    assert made.token() == second, why
    assert json.loads((tmp_path / "info").read_text())["apiVersion"] == "client.authentication.k8s.io/v1"


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho please log in\n", None])
def test_an_exec_plugin_that_fails_is_named(tmp_path: Path, script: str | None) -> None:
    path = tmp_path / "login"
    if script:
        path.write_text(script)
        path.chmod(0o700)
    made = from_kubeconfig(written(tmp_path, {"exec": {"apiVersion": "v1", "command": str(path)}}))
    with pytest.raises(NoCluster, match=f"login command '{path}' failed"):
        made.token()


# -- what is missing -----------------------------------------------------------------------------------------------------


def test_a_missing_context_is_named_with_the_file_and_a_way_on(tmp_path: Path) -> None:
    path = written(tmp_path, {"token": "t"})
    with pytest.raises(NoCluster, match=r"config: no entry 'there' under contexts; see `kubectl config get-contexts`"):
        from_kubeconfig(path, "there")


def test_a_kubeconfig_without_a_chosen_context_says_so(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("")
    with pytest.raises(NoCluster, match=r"no context is chosen; see `kubectl config use-context`"):
        from_kubeconfig(path)


def test_a_missing_kubeconfig_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(NoCluster, match=r"none does not exist; set KUBECONFIG, or run `millrace local up`"):
        load()


def test_inside_a_pod_the_service_account_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificate: tuple[bytes, bytes]
) -> None:
    for name, content in (("token", b"one"), ("namespace", b"ops"), ("ca.crt", certificate[0])):
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(credentials, "_SERVICE_ACCOUNT", tmp_path)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    made = load()
    assert (made.server, made.namespace, made.token()) == ("https://[fd00::1]:443", "ops", "one")
    (tmp_path / "token").write_text("renewed")
    assert made.token() == "renewed", "mounted tokens are renewed under our feet"
