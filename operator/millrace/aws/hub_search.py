"""Searches SageMaker's public hub with the credentials of whoever runs the command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from millrace.aws import hub
from millrace.aws.calls import as_user

Object = dict[str, Any]


class Search:
    """One Region's hub. Raises CallError."""

    def __init__(self, region: str, endpoint_url: str = "") -> None:
        self._caller = as_user(region, endpoint_url)

    def models(self, word: str, most: int) -> Iterator[Object]:
        """Cards of the newest versions of models whose name has the word, as the listing orders them; `most` at the most."""
        asked: Object = {"HubName": hub.HUB, "HubContentType": "Model", "NameContains": word, "MaxResults": min(most, 100)}
        left = most
        while left > 0:
            page = self._caller.call("sagemaker", "ListHubContents", asked)
            for found in page["HubContentSummaries"][:left]:
                yield self._card(found["HubContentName"])
            left -= len(page["HubContentSummaries"])
            if not page.get("NextToken"):
                return
            asked["NextToken"] = page["NextToken"]

    def _card(self, name: str) -> Object:
        asked = {"HubName": hub.HUB, "HubContentType": "Model", "HubContentName": name}
        return told(self._caller.call("sagemaker", "DescribeHubContent", asked))


def told(answer: Object) -> Object:
    """What of a card decides whether one wants the model; what a card does not say is left out. Pure."""
    found = hub.card(answer)
    card = {
        "modelID": answer["HubContentName"],
        "version": found.version,
        "title": answer.get("HubContentDisplayName"),
        "task": found.document.get("Task"),
        "licence": found.document.get("License") or found.licence,
        "acceptEULA": "required" if found.gated else "not needed",
        "instanceTypes": list(found.types),
        "tunable": bool(found.document.get("TrainingSupported")),
        "data": answer.get("HubContentDescription"),
        "url": found.document.get("Url"),
        "usage": answer.get("HubContentMarkdown"),
    }
    return {key: value for key, value in card.items() if value not in (None, "", [])}
