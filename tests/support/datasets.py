"""A Dataset pass by pass, with an API server that knows Jobs and pods only, and workers that say what a test lets them say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from millrace.aws.cloud import Cloud
from millrace.engine.cache import Cache, Key
from millrace.kube.resources import JOBS, PODS, Resource
from millrace_controllers.dataset import CONTROLLER
from support.builders import child, condition, container, dataset, merged
from support.passes import Passes

Object = dict[str, Any]


class Api:
    """As much of an API server as a Dataset's passes call; what is created is seen at once."""

    def __init__(self, cache: Cache) -> None:
        self.cache, self.made = cache, 0

    async def create(self, _: Resource, manifest: Object) -> Object:
        self.made += 1
        return merged(manifest, {"metadata": {"uid": f"{self.made:08d}-of-a-job", "resourceVersion": str(self.made)}})

    async def delete(self, resource: Resource, ns: str, name: str, **_: Any) -> None:
        self.cache.remove(resource.plural, self.cache.get(Key(resource.plural, ns, name)) or {})

    async def list_objects(self, *_: Any, **__: Any) -> AsyncIterator[Object]:
        for nothing in ():
            yield nothing


class World(Passes):
    """One Dataset, its Jobs, and what their pods say when they end."""

    controller = CONTROLLER

    def __init__(self, cloud: Cloud | None = None, **change: Any) -> None:
        super().__init__(cloud)
        self.object = dataset({}, **change)
        self.client = self.api = Api(self.cache)

    def jobs(self, role: str) -> list[Object]:
        found = self.cache.children(self.object["metadata"]["uid"], JOBS.plural)
        return [j for j in found if j["metadata"]["labels"]["millrace.dev/role"] == role]

    def order(self, role: str = "worker") -> dict[str, str]:
        """The environment of the one Job of a role."""
        (job,) = self.jobs(role)
        return {e["name"]: e["value"] for e in job["spec"]["template"]["spec"]["containers"][0]["env"]}

    def ends(self, role: str, said: Object) -> None:
        """The one Job of a role ends with these last words."""
        (job,) = self.jobs(role)
        name, good = job["metadata"]["name"], bool(said["ok"])
        ended = {**condition("Complete" if good else "Failed"), "lastTransitionTime": self.clock.now().isoformat()}
        change = {"metadata": {"resourceVersion": "50"}, "status": {"conditions": [ended]}}
        self.cache.put(JOBS.plural, merged(job, change))
        words = {"containerStatuses": [container(role, terminated={"exitCode": int(not good), "message": json.dumps(said)})]}
        marks = {"metadata": {"labels": {"batch.kubernetes.io/job-name": name}}, "status": words}
        self.cache.put(PODS.plural, child(self.object, "Pod", f"{name}-x", role, 0, **marks))

    def without_pods(self) -> None:
        """They are collected with their Jobs."""
        for pod in self.cache.children(self.object["metadata"]["uid"], PODS.plural):
            self.cache.remove(PODS.plural, pod)

    @property
    def ready(self) -> tuple[str, str]:
        found = next(c for c in self.object["status"]["conditions"] if c["type"] == "Ready")
        return found["status"], found["reason"]
