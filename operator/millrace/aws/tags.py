"""Tags of everything that Millrace makes on AWS: they tell whose a thing is, to us and to whoever reads the bill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from millrace.api.common import GROUP

Object = dict[str, Any]
CLUSTER = f"{GROUP}/cluster"
NAMESPACE = f"{GROUP}/namespace"
KIND = f"{GROUP}/kind"
NAME = f"{GROUP}/name"
UID = f"{GROUP}/uid"


def of(owner: Object, cluster_id: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Tags of a thing made for an object; the user's own never replace ours."""
    metadata = owner["metadata"]
    ours = {
        CLUSTER: cluster_id,
        NAMESPACE: metadata.get("namespace", ""),
        KIND: owner["kind"],
        NAME: metadata["name"],
        UID: metadata["uid"],
    }
    return {**(extra or {}), **ours}


def as_list(tags: Mapping[str, str], key: str = "Key", value: str = "Value") -> list[dict[str, str]]:
    """As a list of pairs, for the services that want them so; sorted, so that equal tags make equal requests."""
    return [{key: name, value: tags[name]} for name in sorted(tags)]


def as_map(pairs: Iterable[Mapping[str, str]], key: str = "Key", value: str = "Value") -> dict[str, str]:
    """A list of pairs as a map."""
    return {pair[key]: pair.get(value, "") for pair in pairs}


def is_of(tags: Mapping[str, str], uid: str) -> bool:
    """Whether a thing was made for the object of this uid."""
    return tags.get(UID) == uid
