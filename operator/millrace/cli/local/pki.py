"""The cluster's certificates: two authorities, one certificate per program, and the service-account key pair.

Made with the `cryptography` package. Kept while the cluster exists, so that a repeated `up` leaves running programs valid.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from millrace.cli.local.settings import Cluster, replace_text

_VALID = dt.timedelta(days=3650)
ADMINS = "system:masters"


@dataclass(frozen=True)
class Authority:
    """A certificate authority that can sign."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def ensure_pki(cluster: Cluster) -> None:
    """Makes what is missing of the control plane's certificates and the administrator's kubeconfig."""
    authority = _ensure_authority(cluster.pki, "ca")
    front_proxy = _ensure_authority(cluster.pki, "front-proxy-ca")
    _ensure(cluster.pki, "apiserver", authority, "kube-apiserver", sans=_server_names(cluster))
    _ensure(cluster.pki, "etcd", authority, "etcd", sans=("localhost", "127.0.0.1"))
    _ensure(cluster.pki, "apiserver-kubelet-client", authority, "kube-apiserver-kubelet-client", (ADMINS,))
    _ensure(cluster.pki, "front-proxy-client", front_proxy, "front-proxy-client")
    _ensure_service_account_keys(cluster.pki)
    for name, user, groups in _ACCOUNTS:
        ensure_kubeconfig(cluster, cluster.pki / f"{name}.kubeconfig", user, groups, cluster.api_url)
    ensure_kubeconfig(cluster, cluster.pki / "proxy.kubeconfig", "system:kube-proxy", (), cluster.node_api_url)
    ensure_kubeconfig(cluster, cluster.kubeconfig, "millrace-local-admin", (ADMINS,), cluster.api_url)


_ACCOUNTS = (
    ("controller-manager", "system:kube-controller-manager", ()),
    ("scheduler", "system:kube-scheduler", ()),
    ("addons", "millrace-local-addons", (ADMINS,)),
)


def ensure_node_kubeconfig(cluster: Cluster, node: str) -> Path:
    path = cluster.pki / f"{node}.kubeconfig"
    ensure_kubeconfig(cluster, path, f"system:node:{node}", ("system:nodes",), cluster.node_api_url)
    return path


def ensure_serving(cluster: Cluster, folder: Path, user: str) -> None:
    """A pair tls.crt and tls.key for a program that the API server calls on this machine."""
    _ensure(folder, "tls", _ensure_authority(cluster.pki, "ca"), user, sans=("localhost", "127.0.0.1"))


def ensure_kubeconfig(cluster: Cluster, path: Path, user: str, groups: Iterable[str], server: str) -> None:
    """A kubeconfig with its certificates inside, so that it can be copied anywhere."""
    if path.exists():
        return
    authority = _ensure_authority(cluster.pki, "ca")
    key, certificate = _issue(authority, user, groups, ())
    replace_text(path, render_kubeconfig(cluster.name, server, authority.certificate, certificate, key), 0o600)


def render_kubeconfig(
    name: str, server: str, authority: x509.Certificate, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> str:
    context = f"millrace-{name}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": context, "cluster": {"server": server, "certificate-authority-data": _b64(_pem(authority))}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
        "users": [
            {
                "name": context,
                "user": {
                    "client-certificate-data": _b64(_pem(certificate)),
                    "client-key-data": _b64(_key_pem(key)),
                },
            }
        ],
    }
    return yaml.safe_dump(document, sort_keys=False)


def _server_names(cluster: Cluster) -> tuple[str, ...]:
    service = "kubernetes.default.svc"
    names = ("localhost", "kubernetes", "kubernetes.default", service, f"{service}.cluster.local")
    return (*names, "127.0.0.1", cluster.host_address, cluster.service_address)


def _ensure_authority(folder: Path, name: str) -> Authority:
    certificate_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    if not (certificate_file.exists() and key_file.exists()):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"millrace-local-{name}")])
        constraint = x509.BasicConstraints(ca=True, path_length=None)
        builder = _builder(subject, subject, key).add_extension(constraint, critical=True)
        certificate = builder.add_extension(_usage(signs_certificates=True), critical=True).sign(key, hashes.SHA256())
        _write_pair(folder, name, certificate, key)
    loaded = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return Authority(x509.load_pem_x509_certificate(certificate_file.read_bytes()), loaded)


def _ensure(
    folder: Path,
    name: str,
    authority: Authority,
    common_name: str,
    groups: Iterable[str] = (),
    sans: Iterable[str] = (),
) -> None:
    if (folder / f"{name}.crt").exists() and (folder / f"{name}.key").exists():
        return
    key, certificate = _issue(authority, common_name, groups, sans)
    _write_pair(folder, name, certificate, key)


def _issue(
    authority: Authority, common_name: str, groups: Iterable[str], sans: Iterable[str]
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    builder = _builder(subject, authority.certificate.subject, key)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    names = [_general_name(name) for name in sans]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return key, builder.sign(authority.key, hashes.SHA256())


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))  # clocks of virtual machines step
        .not_valid_after(now + _VALID)
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _ensure_service_account_keys(folder: Path) -> None:
    key_file, public_file = folder / "service-account.key", folder / "service-account.pub"
    if key_file.exists() and public_file.exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    replace_text(key_file, _key_pem(key), 0o600)
    replace_text(public_file, public.decode())


def _write_pair(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    replace_text(folder / f"{name}.key", _key_pem(key), 0o600)
    replace_text(folder / f"{name}.crt", _pem(certificate))


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
