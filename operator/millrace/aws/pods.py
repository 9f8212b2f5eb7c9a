"""What a pod needs to call AWS itself: where, and the role that it assumes with its ServiceAccount's token. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
_VOLUME = "aws-token"
_FOLDER = "/var/run/secrets/aws"
_AUDIENCE = "sts.amazonaws.com"


@dataclass(frozen=True)
class PodAccess:
    """`role_arn` "" leaves the pod with the identity that EKS gives it; `endpoint_url` "" is AWS itself."""

    region: str
    endpoint_url: str = ""
    role_arn: str = ""

    def variables(self, session: str) -> dict[str, str]:
        """Environment that every AWS SDK understands; `session` names the role's session, as CloudTrail shows it."""
        made = {"AWS_REGION": self.region, "AWS_DEFAULT_REGION": self.region}
        if self.endpoint_url:
            made["AWS_ENDPOINT_URL"] = self.endpoint_url
        if self.role_arn:
            made |= {
                "AWS_ROLE_ARN": self.role_arn,
                "AWS_ROLE_SESSION_NAME": session[:64],
                "AWS_WEB_IDENTITY_TOKEN_FILE": f"{_FOLDER}/token",
            }
        return made

    def volumes(self) -> list[Object]:
        """The token, renewed by the kubelet."""
        if not self.role_arn:
            return []
        source = {"serviceAccountToken": {"audience": _AUDIENCE, "expirationSeconds": 3600, "path": "token"}}
        return [{"name": _VOLUME, "projected": {"sources": [source]}}]

    def mounts(self) -> list[Object]:
        """Where the token is."""
        return [{"name": _VOLUME, "mountPath": _FOLDER, "readOnly": True}] if self.role_arn else []


NO_ACCESS = PodAccess("")
