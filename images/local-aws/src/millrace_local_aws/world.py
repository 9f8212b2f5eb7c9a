"""All of one local AWS: its state, its clock, its services' engines. Lives in one thread, the event loop's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace_local_aws.admin.counters import Counters
from millrace_local_aws.admin.faults import Faults
from millrace_local_aws.engine.clock import Clock
from millrace_local_aws.engine.meter import Meter
from millrace_local_aws.engine.scheduler import Scheduler
from millrace_local_aws.engine.work import Work
from millrace_local_aws.service import Service
from millrace_local_aws.state.store import Store

if TYPE_CHECKING:
    from millrace_local_aws.dataplane.kubernetes import Kubernetes
    from millrace_local_aws.dataplane.runner import Reports, Runner
    from millrace_local_aws.services.events.bus import Bus
    from millrace_local_aws.services.logs.events import LogStore
    from millrace_local_aws.services.s3.objects import Objects
    from millrace_local_aws.services.sqs.queues import Queues


@dataclass
class Settings:
    """What a user chooses. `durations` are seconds of the clock by state, such as `sagemaker.endpoint/Creating`; `pace` is
    a factor on all others, to be quick without a fast clock."""

    enforce_iam: bool = False
    runner: str = "scripted"
    runner_options: dict[str, Any] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    pace: float = 1.0


class World:
    """Handed to every handler and timer."""

    sqs: Queues
    s3: Objects
    events: Bus
    logs: LogStore
    reports: Reports
    runner: Runner
    data_plane: Kubernetes | None = None

    def __init__(self, folder: Path, speed: float | None, start: float | None, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self.store = Store(folder)
        self.clock = Clock(self.store, speed, start)
        self.counters = Counters()
        self.faults = Faults()
        self.scheduler = Scheduler(self, self.store, self.clock)
        self.work = Work(self)
        self.services: dict[str, Service] = {}
        self.meters: dict[str, Meter] = {}
        self.foundations: dict[str, asyncio.Future[None]] = {}
        self.port = 0
        from millrace_local_aws import services

        services.install(self)
        self.store.commit()

    def resume(self) -> None:
        """Once the loop runs: pick up what a restart has interrupted."""
        from millrace_local_aws.dataplane.reports import WorldReports, make_runner
        from millrace_local_aws.services import bedrock, comprehend
        from millrace_local_aws.services.sagemaker import endpoint_life, training_life

        self.reports = WorldReports(self)
        self.runner = make_runner(self)
        training_life.resume(self)
        endpoint_life.resume(self)
        comprehend.resume(self)
        bedrock.resume(self)
        self.store.commit()

    def close(self) -> None:
        self.store.close()
