"""The local AWS in a cluster: its manifests with the images of this machine in them, and values that point the operator at it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace.cli.local import aws
from millrace.cli.local.errors import LocalError
from millrace.cli.local.settings import Cluster

PLACE = aws.Place(Cluster("default", 0, Path("/state"), Path("/cache")), "team-aws")
OWN = "localhost/millrace/local-aws:abc"
ROOT = Path(__file__).parents[3]


def arguments(made: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The container, and the options of its runner."""
    deployment = next(document for document in made if document["kind"] == "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    (options,) = [text.partition("=")[2] for text in container["args"] if text.startswith("--runner-options=")]
    return container, json.loads(options)


def test_every_place_of_the_manifests_names_this_machines_images() -> None:
    made = aws.manifests(PLACE, OWN, {"*/trainer:*": "ours:1"})
    container, options = arguments(made)
    assert container["image"] == options["own_image"] == OWN
    assert options["images"] == {"*/trainer:*": "ours:1"}
    assert made[0] == {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-aws"}}


def test_a_pod_of_the_data_plane_reaches_it_by_the_services_own_name() -> None:
    made = aws.manifests(PLACE, OWN, {})
    service = next(document for document in made if document["kind"] == "Service")
    host = f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert arguments(made)[1]["endpoint_url"] == f"http://{host}"
    assert aws.values(PLACE)["aws"] == {"endpointURL": f"http://{host.replace(':', '.team-aws.svc:')}"}


def test_the_charts_values_are_ones_that_the_chart_has() -> None:
    known = yaml.safe_load((ROOT / "charts/millrace/values.yaml").read_text())
    made = aws.values(PLACE)
    assert set(made) <= set(known)
    assert set(made["aws"]) <= set(known["aws"])


def test_an_image_that_the_cluster_was_not_started_with_is_named_with_what_to_do() -> None:
    with pytest.raises(LocalError, match="no image smollm2") as caught:
        aws.image({"localhost/millrace/local-aws": OWN}, "smollm2")
    assert "up --images local-aws,smollm2,trainer" in caught.value.fix
    assert aws.image({"localhost/millrace/local-aws": OWN}, "local-aws") == OWN


@pytest.mark.parametrize("text", ["*/trainer:*", "=image", "pattern="])
def test_an_image_option_has_two_sides(text: str) -> None:
    with pytest.raises(LocalError, match="PATTERN=IMAGE"):
        aws.pair(text)


def test_an_image_may_have_a_digest() -> None:
    assert aws.pair("*/a:*=repo/a@sha256:0=1") == ("*/a:*", "repo/a@sha256:0=1")
