"""The operator's settings: environment variables into frozen dataclasses, so that nothing else reads the environment."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from millrace.aws.settings import AwsSettings


@dataclass(frozen=True)
class Images:
    """Images of the pods that Millrace makes."""

    operator: str = "millrace/operator:latest"
    trainer: str = "millrace/trainer:latest"
    dataset: str = "millrace/dataset:latest"


@dataclass(frozen=True)
class Settings:
    """Everything that a deployment may change; the chart's values name the same things."""

    namespace: str = "millrace-system"
    """Namespace of the operator itself: its Lease and its Services are there."""
    watch_namespaces: tuple[str, ...] = ()
    """Namespaces that are served; all when empty."""
    images: Images = field(default_factory=Images)
    workers: int = 48
    """Passes at the same time."""
    resync_seconds: float = 600.0
    """Longest time between two LISTs of each watched resource."""
    progress_writes_per_second: float = 20.0
    """Status writes that tell of nothing but progress, over all objects."""
    progress_interval_seconds: float = 2.0
    """Time between two progress pushes of one sender, at least."""
    http_port: int = 8080
    """Probes and metrics."""
    progress_port: int = 8090
    """Progress pushes."""
    progress_url: str = ""
    """Where pods push to; empty: they do not."""
    leader_election: bool = True
    identity: str = field(default_factory=socket.gethostname)
    """This replica's name: the pod's name in a cluster."""
    lease_seconds: int = 15
    log_level: str = "INFO"
    aws: AwsSettings = field(default_factory=AwsSettings)

    @property
    def progress_host(self) -> str:
        """The Service that receives pushes."""
        return f"millrace-progress.{self.namespace}.svc"


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from MILLRACE_* variables; what is not set keeps its default. Raises ValueError naming the variable."""
    env = os.environ if environment is None else environment
    default = Settings()
    namespace = env.get("MILLRACE_NAMESPACE", default.namespace)
    port = _number(env, "MILLRACE_PROGRESS_PORT", default.progress_port)
    return Settings(
        namespace=namespace,
        watch_namespaces=tuple(n.strip() for n in env.get("MILLRACE_WATCH_NAMESPACES", "").split(",") if n.strip()),
        images=Images(
            operator=env.get("MILLRACE_IMAGE_OPERATOR", default.images.operator),
            trainer=env.get("MILLRACE_IMAGE_TRAINER", default.images.trainer),
            dataset=env.get("MILLRACE_IMAGE_DATASET", default.images.dataset),
        ),
        workers=int(_number(env, "MILLRACE_WORKERS", default.workers, least=1)),
        resync_seconds=_number(env, "MILLRACE_RESYNC_SECONDS", default.resync_seconds, least=1),
        progress_writes_per_second=_number(
            env, "MILLRACE_PROGRESS_WRITES_PER_SECOND", default.progress_writes_per_second, least=0.01
        ),
        progress_interval_seconds=_number(env, "MILLRACE_PROGRESS_INTERVAL_SECONDS", default.progress_interval_seconds),
        http_port=int(_number(env, "MILLRACE_HTTP_PORT", default.http_port)),
        progress_port=int(port),
        progress_url=env.get("MILLRACE_PROGRESS_URL", f"http://millrace-progress.{namespace}.svc:{int(port)}/v1/progress"),
        leader_election=env.get("MILLRACE_LEADER_ELECTION", "true").lower() != "false",
        identity=env.get("MILLRACE_IDENTITY", default.identity),
        lease_seconds=int(_number(env, "MILLRACE_LEASE_SECONDS", default.lease_seconds, least=1)),
        log_level=env.get("MILLRACE_LOG_LEVEL", default.log_level).upper(),
        aws=_aws(env, default.aws),
    )


def _aws(env: Mapping[str, str], default: AwsSettings) -> AwsSettings:
    return AwsSettings(
        custom_endpoints=_flag(env, "MILLRACE_AWS_CUSTOM_ENDPOINTS", default.custom_endpoints),
        own_identity=_flag(env, "MILLRACE_AWS_OWN_IDENTITY", default.own_identity),
        endpoint_url=env.get("AWS_ENDPOINT_URL", default.endpoint_url),
        cluster_id=env.get("MILLRACE_CLUSTER_ID", default.cluster_id),
        threads=int(_number(env, "MILLRACE_AWS_THREADS", default.threads, least=1)),
        prices_file=env.get("MILLRACE_PRICES_FILE", default.prices_file),
    )


def _flag(env: Mapping[str, str], name: str, default: bool) -> bool:
    return env.get(name, str(default)).lower() == "true"


def _number(env: Mapping[str, str], name: str, default: float, *, least: float = 0.0) -> float:
    try:
        number = float(env.get(name, default))
    except ValueError:
        raise ValueError(f"{name} must be a number, not {env[name]!r}") from None
    if not (math.isfinite(number) and number >= least):
        raise ValueError(f"{name} must be at least {least:g}, not {env[name]!r}")
    return number
