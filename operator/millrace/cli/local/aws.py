"""`millrace local aws`: the local AWS in a cluster, with its data plane there and what an account finds in a new one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from millrace.cli.local.errors import LocalError
from millrace.cli.local.programs import run
from millrace.cli.local.progress import Steps
from millrace.cli.local.settings import Cluster, repository

ACCOUNT = "111122223333"
"""Of the examples; its twelve digits are the access key of its root."""
IMAGE = "local-aws"
_PORT = 4566
_SECONDS = 180
_STANDS_IN = {
    "*/huggingface-pytorch-tgi-inference:*": "smollm2",
    "*/film-tuner:*": "trainer",
    "aws/bedrock-tuner:*": "trainer",
    "aws/bedrock-custom:*": "trainer",
    "aws/bedrock-foundation:*": "smollm2",
}
"""Images that models of the hub, algorithms of the Marketplace and Bedrock name, and those of images/ that run in their place."""
Object = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where in a cluster it is."""

    cluster: Cluster
    namespace: str

    @property
    def url(self) -> str:
        """For pods."""
        return f"http://{IMAGE}.{self.namespace}.svc:{_PORT}"

    def kubectl(self, *arguments: object, what: str, stdin: str | None = None, seconds: float = 60) -> str:
        command = [self.cluster.bin / "kubectl", "--kubeconfig", self.cluster.kubeconfig, "--namespace", self.namespace]
        fix = f"Look: kubectl get pods,events --namespace {self.namespace}"
        return run([*command, *arguments], what=what, fix=fix, stdin=stdin, seconds=seconds)


def up(place: Place, images: Mapping[str, str], extra: Mapping[str, str]) -> str:
    """Installs it, waits until it answers, and fills it; a repeated call continues. Gives its address for this machine.

    `images` are full names by name without tag; `extra` are further images for the data plane by pattern.
    """
    steps = Steps(3)
    with steps.step(f"Applying {IMAGE} to namespace {place.namespace}"):
        own, stand_in = image(images, IMAGE), {pattern: image(images, name) for pattern, name in _STANDS_IN.items()}
        documents = manifests(place, own, {**stand_in, **extra})
        place.kubectl("apply", "-f", "-", what="apply the local AWS", stdin=yaml.safe_dump_all(documents))
    with steps.step("Waiting until it answers"):
        waiting = ("rollout", "status", f"deployment/{IMAGE}", f"--timeout={_SECONDS}s")
        place.kubectl(*waiting, what="start the local AWS", seconds=_SECONDS + 10)
    with steps.step("Filling hub and Marketplace"):
        command = ("python3", "-m", "millrace_local_aws", "seed", "--account", ACCOUNT)
        place.kubectl("exec", f"deployment/{IMAGE}", "--", *command, what="fill the local AWS")
    address = place.kubectl("get", f"service/{IMAGE}", "-o", "jsonpath={.spec.clusterIP}", what="read its address")
    return f"http://{address}:{_PORT}"


def down(place: Place) -> None:
    """Its namespace goes, with its state and whatever runs in its data plane."""
    arguments = ("delete", "namespace", place.namespace, "--ignore-not-found", f"--timeout={_SECONDS}s")
    place.kubectl(*arguments, what=f"delete namespace {place.namespace}", seconds=_SECONDS + 10)


def image(images: Mapping[str, str], name: str) -> str:
    """The full name of an image of images/ that the cluster was started with."""
    found = next((full for short, full in images.items() if short.rpartition("/")[2] == name), None)
    if found is None:
        wanted = ",".join(dict.fromkeys((IMAGE, *_STANDS_IN.values())))
        raise LocalError(f"the cluster has no image {name}", f"Run: millrace local up --images {wanted}")
    return found


def pair(text: str) -> tuple[str, str]:
    """Reads PATTERN=IMAGE."""
    pattern, _, found = text.partition("=")
    if not pattern or not found:
        raise LocalError(f"--image: {text!r} is not PATTERN=IMAGE", "Write for example --image '*/trainer:*=trainer:1'.")
    return pattern, found


def manifests(place: Place, own: str, images: Mapping[str, str]) -> list[Object]:
    """images/local-aws/deploy/local-aws.yaml with names of images put in, behind the namespace."""
    text = (repository() / "images" / IMAGE / "deploy" / f"{IMAGE}.yaml").read_text()
    documents = [document for document in yaml.safe_load_all(text) if document]
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["image"] = own
    container["args"] = [_runner(argument, own, images) for argument in container["args"]]
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place.namespace}}, *documents]


def _runner(argument: str, own: str, images: Mapping[str, str]) -> str:
    name, is_option, value = argument.partition("--runner-options=")
    if not is_option:
        return argument
    return name + is_option + json.dumps({**json.loads(value), "own_image": own, "images": dict(images)})


def how_to(place: Place, address: str) -> str:
    """What to do with it."""
    return f"""\
export AWS_ENDPOINT_URL={address} AWS_ACCESS_KEY_ID={ACCOUNT} AWS_SECRET_ACCESS_KEY=local AWS_DEFAULT_REGION=us-east-1
# The operator: helm upgrade --install millrace charts/millrace -n millrace-system --create-namespace \\
#   -f <(millrace local values) -f <(millrace local aws values --namespace {place.namespace})"""


def values(place: Place) -> Object:
    """Values of the chart for an operator that takes it for AWS, as the root of the examples' account."""
    credentials = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "local"}
    return {
        "aws": {"endpointURL": place.url},
        "extraEnv": [{"name": name, "value": value} for name, value in credentials.items()],
    }
