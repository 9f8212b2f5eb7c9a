"""A service is a name, a few facts about its wire, and a table of operations that somebody here answers for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from millrace_local_aws.access.principals import Principal
from millrace_local_aws.engine.ids import arn
from millrace_local_aws.wire.incoming import Incoming

if TYPE_CHECKING:
    from millrace_local_aws.world import World

Input = dict[str, Any]
Output = dict[str, Any] | None
Handler = Callable[["Call", Input], Output | Awaitable[Output]]
ResourceOf = Callable[["Call", Input], str]


@dataclass(frozen=True)
class Call:
    """One request of one operation, by whom and for which account and region."""

    world: World
    service: Service
    operation: str
    principal: Principal
    region: str
    request_id: str
    incoming: Incoming

    @property
    def account(self) -> str:
        return self.principal.account

    @property
    def scope(self) -> str:
        return f"{self.account}/{self.region}"

    def arn(self, resource: str, service: str | None = None) -> str:
        """Of a resource in this account and region."""
        return arn(service or self.service.prefix, self.region, self.account, resource)


@dataclass(frozen=True)
class Operation:
    """Who answers an operation, and what IAM is asked before."""

    handler: Handler
    action: str
    resource: ResourceOf


def anything(call: Call, request: Input) -> str:
    return "*"


@dataclass
class Service:
    """`name` is botocore's; `target` the prefix of X-Amz-Target; `prefix` what IAM's actions and ARNs start with."""

    name: str
    prefix: str
    target: str | None = None
    signing: str | None = None
    invalid: str = "ValidationException"
    throttled: tuple[str, int] = ("ThrottlingException", 400)
    tagging: str = ""
    """What IAM is asked, too, where something is made with tags."""
    streaming: frozenset[str] = frozenset()
    operations: dict[str, Operation] = field(default_factory=dict)

    def operation(
        self, name: str, *, resource: ResourceOf = anything, action: str | None = None
    ) -> Callable[[Callable[[Call, Input], Any]], Callable[[Call, Input], Any]]:
        """Register who answers."""

        def register(handler: Callable[[Call, Input], Any]) -> Callable[[Call, Input], Any]:
            self.operations[name] = Operation(handler, f"{self.prefix}:{action or name}", resource)
            return handler

        return register
