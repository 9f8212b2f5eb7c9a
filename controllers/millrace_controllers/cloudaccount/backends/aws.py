"""The account at AWS: who are we, the queue that its events come by, and its end.

Every method raises the errors of millrace.aws.errors, and nothing else.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from millrace.aws import naming, plumbing, tags
from millrace.aws.plumbing import Plumbing
from millrace.engine.controller import Pass
from millrace_controllers.cloudaccount.plan import Heard, Observed

if TYPE_CHECKING:
    from millrace.aws.account import Account
    from millrace.aws.listener import Listener


class AwsAccount:
    """AWS as STS, SQS and EventBridge show it."""

    name = "aws"

    async def observe(self, ctx: Pass) -> Observed:
        """Who AWS says that we are."""
        account = ctx.clouds.unproven(ctx.object)
        answer = await account.call("sts", "GetCallerIdentity")
        return Observed(str(answer["Account"]), str(answer["Arn"]))

    async def listen(self, ctx: Pass, observed: Observed) -> Heard | None:
        """Listen as the spec says, making what is ours to make; None where it says nothing of events."""
        account = ctx.clouds.unproven(ctx.object)
        wanted, events = self._plumbing(ctx, observed), ctx.spec.events
        if not (events and events.managed) and self._made_before(ctx, wanted):
            await plumbing.remove(account, wanted)
        if events is None:
            await self.hush(ctx)
            return None
        url = events.queue_url or await plumbing.ensure(account, wanted, tags.of(ctx.object, account.cluster_id))
        listener = await ctx.clouds.listen(account, url)
        return Heard(url, _heard(account, listener, ctx.clock.now()))

    async def hush(self, ctx: Pass) -> None:
        """Stop listening."""
        await ctx.clouds.hush(ctx.namespace, ctx.name)

    async def delete(self, ctx: Pass) -> bool:
        """Stop listening and take the rule and queue away. Deleting nothing is success."""
        await self.hush(ctx)
        account_id = ctx.status.get("accountID")
        wanted = self._plumbing(ctx, Observed(account_id or "", ctx.status.get("identityARN") or ""))
        if account_id and (self._made_before(ctx, wanted) or (ctx.spec.events and ctx.spec.events.managed)):
            await plumbing.remove(ctx.clouds.unproven(ctx.object), wanted)
        return True

    async def forget(self, ctx: Pass) -> None:
        """The object is about to be gone."""
        await ctx.clouds.forget(ctx.namespace, ctx.name)

    def _plumbing(self, ctx: Pass, observed: Observed) -> Plumbing:
        """The rule's name may have 64 characters, the queue's 80."""
        partition = observed.arn.split(":")[1] if observed.arn.startswith("arn:") else "aws"
        name = naming.thing_name(f"millrace-{ctx.namespace}-{ctx.name}", ctx.uid, limit=64)
        return Plumbing(name, ctx.spec.region, observed.account_id, partition)

    def _made_before(self, ctx: Pass, wanted: Plumbing) -> bool:
        """Whether the queue that status tells of is one of ours: the spec may have said `managed` before."""
        url = str((ctx.status.get("events") or {}).get("queueURL") or "")
        return url.rsplit("/", 1)[-1] == wanted.name


def _heard(account: Account, listener: Listener, now: datetime) -> datetime | None:
    """When the last event came, to the minute: status should not be written for each."""
    if listener.heard is None:
        return None
    return (now - timedelta(seconds=account.monotonic() - listener.heard)).replace(second=0, microsecond=0)
