"""The few questions the commands ask the API server directly; everything richer goes through kubectl."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from millrace.cli.local.waiting import NotYet


@dataclass(frozen=True)
class Api:
    """Reads from one API server with the identity of a kubeconfig."""

    server: str
    context: ssl.SSLContext

    def text(self, path: str, seconds: float = 5) -> str:
        """The body of a GET; anything but 200 is NotYet, with the server's words."""
        request = urllib.request.Request(self.server + path)
        try:
            with urllib.request.urlopen(request, timeout=seconds, context=self.context) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as refused:
            with refused:
                raise NotYet(f"{refused.code}: {refused.read().decode(errors='replace')[-400:]}") from refused
        except (urllib.error.URLError, TimeoutError) as problem:
            raise NotYet(str(problem)) from problem

    def get(self, path: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.text(path))
        return answer


def open_api(kubeconfig: Path) -> Api:
    """For kubeconfigs with their certificates inside, as `up` writes them."""
    document = yaml.safe_load(kubeconfig.read_text())
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    with tempfile.NamedTemporaryFile() as pair:  # ssl reads a client certificate from a file only
        pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        pair.flush()
        context.load_cert_chain(pair.name)
    return Api(cluster["server"], context)
