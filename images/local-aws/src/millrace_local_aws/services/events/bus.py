"""Where an event goes: the rules it matches, and their targets.

Delivery is at least once and in no order, as AWS's is: events can be lost, doubled, delayed and reordered on demand.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from millrace_local_aws.access.authorize import resource_policy_allows
from millrace_local_aws.access.policies import Question
from millrace_local_aws.engine.ids import new_uuid
from millrace_local_aws.engine.scheduler import action
from millrace_local_aws.services.events.patterns import matches
from millrace_local_aws.wire.scalars import iso

if TYPE_CHECKING:
    from millrace_local_aws.world import World

Event = dict[str, Any]


class Bus:
    """All buses of all accounts and regions."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._rules = world.store.table("events.rule")
        self._held: list[tuple[str, Event]] = []

    def emit(self, source: str, kind: str, account: str, region: str, resources: list[str], detail: Event) -> str:
        """An event of an AWS service, on the account's default bus; returns its id."""
        event = {
            "version": "0",
            "id": new_uuid(),
            "detail-type": kind,
            "source": source,
            "account": account,
            "time": iso(self.world.clock.now(), millis=False),
            "region": region,
            "resources": resources,
            "detail": detail,
        }
        self._through_faults(event)
        return str(event["id"])

    def _strikes(self, fault: str, event: Event) -> bool:
        faults = self.world.faults.on(fault, event["source"].removeprefix("aws."), event["detail-type"], event["account"])
        return any(one.strikes() for one in faults)

    def _through_faults(self, event: Event) -> None:
        count = self.world.counters.events
        count[event["detail-type"]] += 1
        if self._strikes("lose-events", event):
            count["lost"] += 1
            return
        delays = self.world.faults.on(
            "delay-events", event["source"].removeprefix("aws."), event["detail-type"], event["account"]
        )
        delay = sum(one.seconds for one in delays if one.strikes())
        if delay:
            count["delayed"] += 1
            self.world.scheduler.after(delay, "events.deliver", bus="default", event=event)
            return
        if self._strikes("reorder-events", event):
            # It is overtaken by the next one.
            count["reordered"] += 1
            self._held.append(("default", event))
            return
        self.deliver("default", event)
        if self._strikes("duplicate-events", event):
            count["duplicated"] += 1
            self.deliver("default", event)
        held, self._held = self._held, []
        for bus, earlier in held:
            self.deliver(bus, earlier)

    def deliver(self, bus: str, event: Event) -> None:
        """To every target of every enabled rule it matches."""
        for rule in self._rules.of(f"{event['account']}/{event['region']}/{bus}"):
            if rule["State"] != "DISABLED" and "EventPattern" in rule and matches(json.loads(rule["EventPattern"]), event):
                for target in rule["targets"].values():
                    self._to_target(rule, target, event)

    def _to_target(self, rule: Event, target: Event, event: Event) -> None:
        queue = self.world.sqs.by_arn(target["Arn"])
        context = {"aws:SourceArn": rule["Arn"], "aws:SourceAccount": event["account"]}
        question = Question("sqs:SendMessage", target["Arn"], context, (("Service", "events.amazonaws.com"),))
        if queue is None or not resource_policy_allows(queue.attributes.get("Policy"), question):
            self.world.counters.events["failed-invocations"] += 1
            self._to_dead_letters(target, event, question)
            return
        group = (target.get("SqsParameters") or {}).get("MessageGroupId")
        group = group if queue.fifo else None
        queue.send(
            transformed(target, rule, event),
            {},
            "EventBridge",
            delay=queue.number("DelaySeconds"),
            group=group,
            deduplication=event["id"] if queue.fifo else None,
        )

    def _to_dead_letters(self, target: Event, event: Event, question: Question) -> None:
        arn = (target.get("DeadLetterConfig") or {}).get("Arn")
        queue = self.world.sqs.by_arn(arn) if arn else None
        asked = Question("sqs:SendMessage", str(arn), question.context, question.principals)
        if queue is not None and resource_policy_allows(queue.attributes.get("Policy"), asked):
            queue.send(json.dumps(event), {}, "EventBridge", delay=0, group=None, deduplication=None)


@action("events.deliver")
def deliver_later(world: World, bus: str, event: Event) -> None:
    """An event that was delayed on demand."""
    world.events.deliver(bus, event)


def _path(event: Any, path: str) -> Any:
    """A JSON path as EventBridge has it: $ and dotted names."""
    for part in path.removeprefix("$").split("."):
        if part:
            name, _, index = part.partition("[")
            event = event.get(name) if isinstance(event, dict) else None
            if index and isinstance(event, list):
                event = event[int(index.rstrip("]"))]
    return event


def transformed(target: Event, rule: Event, event: Event) -> str:
    """What the target receives: the event, a part of it, a constant, or a template filled in."""
    if "Input" in target:
        return str(target["Input"])
    if "InputPath" in target:
        return json.dumps(_path(event, target["InputPath"]))
    if "InputTransformer" in target:
        return _filled(target["InputTransformer"], rule, event)
    return json.dumps(event)


def _filled(transformer: Event, rule: Event, event: Event) -> str:
    values = {name: _path(event, path) for name, path in transformer.get("InputPathsMap", {}).items()}
    values |= {
        "aws.events.rule-arn": rule["Arn"],
        "aws.events.rule-name": rule["Name"],
        "aws.events.event.ingestion-time": event["time"],
        "aws.events.event.json": event,
    }
    template: str = transformer["InputTemplate"]

    def fill(found: re.Match[str]) -> str:
        value = values.get(found[1])
        inside_text = template[: found.start()].count('"') % 2 == 1
        if isinstance(value, str):
            return value if inside_text else json.dumps(value)
        return "" if value is None else json.dumps(value)

    return re.sub(r"<([\w.-]+)>", fill, template)
