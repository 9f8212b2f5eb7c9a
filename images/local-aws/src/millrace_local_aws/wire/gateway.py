"""The way of every request: routed, authenticated, read, validated, authorized, failed on demand, handled; and the answer
checked like any other before it is written."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millrace_local_aws.access.authorize import context_of, decide, denied
from millrace_local_aws.access.policies import Decision, Question
from millrace_local_aws.access.principals import Principal, principal
from millrace_local_aws.engine.ids import new_uuid
from millrace_local_aws.service import Call, Service
from millrace_local_aws.wire import protocols, rest_routes
from millrace_local_aws.wire.errors import AwsError, NotServed
from millrace_local_aws.wire.incoming import Incoming, Outgoing
from millrace_local_aws.wire.models import known_services, operation_model
from millrace_local_aws.wire.shapes import summary, violations
from millrace_local_aws.wire.sigv4 import Signed, signed
from millrace_local_aws.world import World

if TYPE_CHECKING:
    from millrace_local_aws.wire.models import OperationModel

LOG = logging.getLogger(__name__)
Labels = dict[str, str]
_JSON_CODES = {
    "ExpiredToken": ("ExpiredTokenException", 400),
    "InvalidClientTokenId": ("UnrecognizedClientException", 400),
    "MissingAuthenticationToken": ("MissingAuthenticationTokenException", 400),
}
TAGS = ("Tags", "tags", "jobTags", "customModelTags")
"""Members with which something is made with tags."""
UNSIGNED = frozenset({"AssumeRoleWithWebIdentity"})
"""Operations that are asked without credentials: to get some."""
TOKEN_CODES: dict[str, dict[str, tuple[str, int]]] = {
    "json": _JSON_CODES,
    "rest-json": _JSON_CODES,
    "rest-xml": {"ExpiredToken": ("ExpiredToken", 400), "InvalidClientTokenId": ("InvalidAccessKeyId", 403)},
}


@dataclass(frozen=True)
class Match:
    """What a request means."""

    service: Service
    operation: str
    labels: Labels


class Gateway:
    """Requests in, answers out."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._targets = {service.target: service for service in world.services.values() if service.target}
        self._signing: dict[str, list[Service]] = {}
        for service in world.services.values():
            self._signing.setdefault(service.signing or service.name, []).append(service)

    def match(self, request: Incoming, scope: Signed) -> Match:
        """Raises NotServed for a service or operation that nobody here answers for."""
        target = request.headers.get("X-Amz-Target")
        if target:
            prefix, _, operation = target.rpartition(".")
            if prefix not in self._targets:
                raise NotServed(scope.service or prefix, operation)
            return Match(self._targets[prefix], operation, {})
        candidates = self._signing.get(scope.service or _unsigned(request), [])
        if not candidates:
            raise NotServed(str(scope.service), f"{request.method} {request.path}")
        if request.form and "Action" in request.form:
            return Match(candidates[0], request.form["Action"], {})
        return self._rest(request, candidates)

    def _rest(self, request: Incoming, candidates: list[Service]) -> Match:
        for service in candidates:
            found = rest_routes.find(service.name, request) if service.target is None else None
            if found is not None:
                return Match(service, *found)
        raise NotServed(candidates[0].name, f"{request.method} {request.path}")

    async def answer(self, request: Incoming) -> Outgoing:
        """Never raises, whatever comes in."""
        request_id = new_uuid()
        scope = signed(request)
        protocol, service, operation = "json", scope.service or "unknown", "unknown"
        try:
            protocol = protocols.likely(request, scope.service)
            match = self.match(request, scope)
            service, operation = match.service.name, match.operation
            model = self._model(match)
            protocol = protocols.protocol_of(model, request)
            answer = await self._handled(match, model, protocol, request, scope, request_id)
            self.world.counters.answered(service, operation, "200")
        except AwsError as error:
            answer = self._refused(protocol, service, operation, error, request_id)
        except asyncio.CancelledError:
            self.world.store.commit()
            raise
        except Exception as error:
            LOG.exception("%s %s broke", service, operation)
            self.world.counters.fault("handler", f"{service}:{operation}: {error!r}")
            failure = AwsError("InternalFailure", f"local-aws broke: {error!r}", 500)
            answer = self._refused(protocol, service, operation, failure, request_id)
        self.world.store.commit()
        answer.headers.setdefault("x-amzn-RequestId", request_id)
        answer.headers.setdefault("x-amz-request-id", request_id)
        return answer

    def _refused(self, protocol: str, service: str, operation: str, error: AwsError, request_id: str) -> Outgoing:
        if isinstance(error, NotServed):
            self.world.counters.not_served(error.what)
        self.world.counters.answered(service, operation, error.code)
        known = service if service in known_services() else "sts"
        return protocols.write_error(protocol, known, error, request_id)

    def _model(self, match: Match) -> OperationModel:
        model = operation_model(match.service.name, match.operation)
        if model is None or match.operation not in match.service.operations:
            raise NotServed(match.service.name, match.operation)
        return model

    async def _handled(
        self, match: Match, model: OperationModel, protocol: str, request: Incoming, scope: Signed, request_id: str
    ) -> Outgoing:
        service = match.service
        who = self._principal(service, match.operation, protocol, scope)
        call = Call(self.world, service, match.operation, who, scope.region, request_id, request)
        values = protocols.read(protocol, model, request, match.labels)
        self._validate(service, model, values)
        await self._fail_on_demand(call)
        operation = service.operations[match.operation]
        self._authorize(call, operation.action, operation.resource(call, values), values)
        if service.tagging and call.operation.startswith(("Create", "Put")) and any(values.get(name) for name in TAGS):
            self._authorize(call, f"{service.prefix}:{service.tagging}", operation.resource(call, values), values)
        result = operation.handler(call, values)
        if inspect.isawaitable(result):
            result = await result
        result = result or {}
        self._check_own(service, model, result)
        answer = protocols.write(protocol, model, result, request_id)
        _attach_stream(answer, result)
        return answer

    def _principal(self, service: Service, operation: str, protocol: str, scope: Signed) -> Principal:
        """Who signed; the services have names of their own for what is wrong with a token."""
        names = TOKEN_CODES.get(protocol, {})
        try:
            found = principal(self.world, scope)
        except AwsError as error:
            code, status = names.get(error.code, (error.code, error.status))
            raise AwsError(code, error.message, status) from error
        if found.kind == "anonymous" and service.name != "s3" and operation not in UNSIGNED:
            code, status = names.get("MissingAuthenticationToken", ("MissingAuthenticationToken", 403))
            raise AwsError(code, "Missing Authentication Token", status)
        return found

    def _validate(self, service: Service, model: OperationModel, values: dict[str, Any]) -> None:
        if model.input_shape is None:
            return
        faults = list(violations(model.input_shape, values))
        if faults:
            raise AwsError(service.invalid, summary(faults), 400)

    def _check_own(self, service: Service, model: OperationModel, result: dict[str, Any]) -> None:
        if model.output_shape is None:
            return
        plain = {name: value for name, value in result.items() if not name.startswith("_")}
        for fault in violations(model.output_shape, plain):
            self.world.counters.fault("response", f"{service.name}:{model.name}: {fault}")

    def _authorize(self, call: Call, action: str, resource: str, values: dict[str, Any]) -> None:
        for fault in self.world.faults.on("deny", call.service.name, call.operation, call.account, call.principal.arn):
            if fault.strikes():
                raise denied(call.service.name, call.principal, action, resource)
        if not self.world.settings.enforce_iam or call.service.name == "s3" or action == "sts:GetCallerIdentity":
            return
        context = context_of(self.world, call.principal, call.region, call.incoming.source_ip)
        decision = decide(self.world, call.principal, Question(action, resource, context, call.principal.names()))
        if decision is not Decision.ALLOW and not (decision is Decision.NONE and _own_policy_decides(call, values)):
            raise denied(call.service.name, call.principal, action, resource, decision)

    async def _fail_on_demand(self, call: Call) -> None:
        faults, where = self.world.faults, (call.service.name, call.operation, call.account, call.principal.arn)
        for fault in faults.on("latency", *where):
            if fault.strikes():
                await asyncio.sleep(fault.seconds)
        for fault in faults.on("throttle", *where):
            if not fault.lets_through(time.monotonic()):
                code, status = call.service.throttled
                raise AwsError(code, "Rate exceeded", status)
        for fault in faults.on("error", *where):
            if fault.strikes():
                raise AwsError(fault.code, fault.message, fault.status)


def _unsigned(request: Incoming) -> str:
    """The service of a request that nobody signed."""
    return "sts" if request.form and request.form.get("Action") in UNSIGNED else "s3"


def _own_policy_decides(call: Call, values: dict[str, Any]) -> bool:
    """A queue's policy and a role's trust policy are asked by their services, which know them."""
    return (call.service.name == "sqs" and "QueueUrl" in values) or call.operation.startswith("AssumeRole")


def _attach_stream(answer: Outgoing, result: dict[str, Any]) -> None:
    """A handler leaves large or unfinished bodies under names that no model has."""
    answer.stream = result.get("_stream")
    answer.length = result.get("_length")
    answer.cleanup = result.get("_cleanup")
    answer.status = result.get("_status", answer.status)
    answer.body = result.get("_body", answer.body)
    answer.headers |= result.get("_headers", {})
