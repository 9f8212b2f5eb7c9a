"""Which pod and which container's log an object's user means, and showing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import typer

from millrace.cli.cluster import Target, connected, subject
from millrace.cli.problems import Exit, Problem
from millrace.kube import labels
from millrace.kube.resources import PODS

Object = dict[str, Any]
ALL_LINES = 2**31 - 1
_RANK = "batch.kubernetes.io/job-completion-index"
_HELPERS = {"verify", "sweep"}
"""Roles of pods that run after the work, for the operator's own sake."""
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


@dataclass(frozen=True)
class Choice:
    """What the user named: rank, attempt (None: the latest), container ("": the one that tells most)."""

    rank: int = 0
    attempt: int | None = None
    container: str = ""


def attempt_of(pod: Object) -> int:
    """The attempt that a pod belongs to; 0 where its kind has none."""
    return int((pod["metadata"].get("labels") or {}).get(labels.ATTEMPT) or 0)


def rank_of(pod: Object) -> int:
    """The pod's node rank; 0 where its kind has none."""
    marks = {**(pod["metadata"].get("annotations") or {}), **(pod["metadata"].get("labels") or {})}
    return int(marks.get(_RANK) or 0)


def chosen(pods: Sequence[Object], choice: Choice, who: str) -> Object:
    """The pod that is meant. Raises Problem saying which there are."""
    if not pods:
        raise Problem(
            f"{who} has no pods now",
            f"`millrace status {who}` says why; pods are deleted after the end unless spec.ttlSecondsAfterFinished keeps them.",
            Exit.NOT_FOUND,
        )
    attempts = sorted({attempt_of(p) for p in pods})
    wanted = attempts[-1] if choice.attempt is None else choice.attempt
    of_attempt = [p for p in pods if attempt_of(p) == wanted]
    if not of_attempt:
        raise Problem(f"{who} has no pods of attempt {wanted}", f"Attempts with pods: {_listed(attempts)}.", Exit.NOT_FOUND)
    of_rank = [p for p in of_attempt if rank_of(p) == choice.rank]
    if not of_rank:
        ranks = _listed(sorted({rank_of(p) for p in of_attempt}))
        raise Problem(f"{who} has no pod of rank {choice.rank} in attempt {wanted}", f"Ranks with pods: {ranks}.", Exit.NOT_FOUND)
    workers = [p for p in of_rank if (p["metadata"].get("labels") or {}).get(labels.ROLE) not in _HELPERS]
    return max(workers or of_rank, key=lambda p: (p["metadata"]["creationTimestamp"], p["metadata"]["name"]))


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(n) for n in numbers)


def container_of(pod: Object, named: str) -> str:
    """The container whose log tells most: the one named, else an init container that fails or still runs, else the main one."""
    spec = pod["spec"]
    names = [c["name"] for c in (*spec.get("initContainers", ()), *spec["containers"])]
    if named:
        if named not in names:
            raise Problem(f"there is no container {named!r}", f"Containers are: {', '.join(names)}.", Exit.NOT_FOUND)
        return named
    main = (pod["metadata"].get("annotations") or {}).get(_DEFAULT_CONTAINER) or spec["containers"][0]["name"]
    return _troubled_init(pod) or str(main)


def _troubled_init(pod: Object) -> str | None:
    """An ordinary init container that has not ended well; one that restarts for ever is a sidecar and runs beside the work."""
    sidecars = {c["name"] for c in pod["spec"].get("initContainers", ()) if c.get("restartPolicy") == "Always"}
    for told in (pod.get("status") or {}).get("initContainerStatuses") or ():
        state = told.get("state") or {}
        failed = (state.get("terminated") or {}).get("exitCode", 0) != 0
        if told["name"] not in sidecars and (failed or "running" in state):
            return str(told["name"])
    return None


def not_started(pod: Object, container: str) -> str | None:
    """Why a container has no log yet; None where it has one."""
    status = pod.get("status") or {}
    for told in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (told.get("state") or {}).get("waiting")
        if told["name"] == container:
            return None if waiting is None else f"{waiting.get('reason', 'waiting')}: {waiting.get('message', '')}".rstrip(": ")
    conditions: list[Object] = status.get("conditions") or []
    scheduled = next((c for c in conditions if c["type"] == "PodScheduled"), {})
    return str(scheduled.get("message") or "the pod has not started")


async def show(target: Target, typed: str, choice: Choice, tail: int, follow: bool) -> None:
    """Write the log to standard output. Raises Problem where there is none."""
    controller, name = subject(typed)
    who = f"{controller.kind.singular}/{name}"
    async with connected(target) as connection:
        obj = await connection.get(controller, name)
        if controller.cloud_log(obj, choice.attempt, choice.rank) is not None:
            from millrace.cli import cloudlogs

            lines_wanted = None if tail == ALL_LINES else tail
            await cloudlogs.show(connection, controller, obj, choice.attempt, choice.rank, lines_wanted, follow)
            return
        selector = f"{labels.OWNER_UID}={obj['metadata']['uid']}"
        pods = [p async for p in connection.client.list_objects(PODS, connection.namespace, labels=selector)]
        pod = chosen(pods, choice, who)
        container = container_of(pod, choice.container)
        if (why := not_started(pod, container)) is not None:
            raise Problem(
                f"{who}: container {container} of pod {pod['metadata']['name']} has no log yet: {why}", "Try again later."
            )
        lines = connection.client.logs(connection.namespace, pod["metadata"]["name"], container, lines=tail, follow=follow)
        async for line in lines:
            typer.echo(line)
