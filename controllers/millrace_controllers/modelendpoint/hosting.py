"""The stages of a pass over an endpoint on SageMaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from millrace.api.v1alpha1.modelendpoint import SageMakerServing
from millrace.aws import subscriptions
from millrace.aws.errors import Denied
from millrace.aws.hub import Card
from millrace.aws.resolve import ACCOUNTS
from millrace.data.prices import HOSTING
from millrace.engine.clock import stamp
from millrace.engine.controller import Pass
from millrace.engine.outcome import Event, Outcome
from millrace_controllers.modelendpoint import hosted_status as status
from millrace_controllers.modelendpoint import idle, models, plan, speed
from millrace_controllers.modelendpoint import status as kind
from millrace_controllers.modelendpoint.backends.sagemaker import NoRoom, SageMakerHost, config_name, hub, requests
from millrace_controllers.modelendpoint.errors import PackageNotReady
from millrace_controllers.modelendpoint.observed import Hosted, Memory, Stage, Target
from millrace_controllers.modelendpoint.plan import Move

BACKEND = SageMakerHost()
Object = dict[str, Any]


@dataclass
class _Look:
    """What a pass found out so far. The hub is asked once at most."""

    ctx: Pass
    target: Target
    hosted: Hosted
    memory: Memory
    types: tuple[str, ...]
    """Instance types in the order of trying; of a hub model without any, its default once that could not be had."""
    card: Card | None = None

    @property
    def serving(self) -> SageMakerServing:
        assert isinstance(self.ctx.spec.sage_maker, SageMakerServing), "only asked for the member sageMaker"
        return self.ctx.spec.sage_maker

    @property
    def place(self) -> int | None:
        """Of the instance type to try; a hub model whose default is not known yet has one."""
        return plan.first_free(self.types, self.memory) if self.types else 0

    @property
    def aim(self) -> plan.Aim:
        spec, place = self.ctx.spec, self.place
        config = "" if place is None else config_name(self.hosted.name, self.target.revision, place)
        return plan.Aim(config, requests.probe_mark(spec), requests.scaling(spec), requests.count(spec))


async def reconcile(ctx: Pass) -> Outcome:
    """One pass: which model? observe, decide, act, say. What is suspended needs no model."""
    found = await BACKEND.observe(ctx)
    if ctx.spec.suspend:
        return await _suspended(ctx, found)
    try:
        target = models.target(ctx.spec, ctx.status, lambda name: ctx.lookup("trainingjobs", name))
    except models.ModelNotReady as missing:
        return status.without_model(str(missing), found)
    look = await _look(ctx, target, found)
    return await _made(look, plan.next_move(found, look.aim, look.memory))


async def _suspended(ctx: Pass, found: Hosted) -> Outcome:
    if plan.must_go(found.stage):
        await BACKEND.remove(ctx, found)
        found = await BACKEND.observe(ctx)
    if found.stage is Stage.MISSING and (ctx.status.get("sageMaker") or {}).get("config"):
        await BACKEND.clean(ctx, found, ())
    BACKEND.watch(ctx, found)
    return status.suspended(found, ctx.status, _price(ctx, found.instance_type), ctx.clock.now())


async def _look(ctx: Pass, target: Target, found: Hosted) -> _Look:
    card = None
    if target.version is None and ctx.spec.model.jump_start is not None:
        card = await BACKEND.card(ctx, None)
        target = models.of_version(ctx.spec, card.version)
    memory = status.memory(ctx.status, target)
    types = tuple(ctx.spec.sage_maker.instance_types or (name for name, _ in memory.passed_over))
    look = _Look(ctx, target, found, memory, types, card)
    look.memory = plan.remembered(found, look.aim.config, memory)
    return look


async def _made(look: _Look, move: Move) -> Outcome:
    """Carry out a decision and tell of it."""
    ctx, found = look.ctx, look.hosted
    match move:
        case Move.CREATE | Move.UPDATE:
            return await _begun(look, move)
        case Move.REMOVE:
            await BACKEND.remove(ctx, found)
        case Move.SCALE:
            await BACKEND.scale(ctx, found)
            look.memory = replace(look.memory, scaled=look.aim.scaling)
        case Move.PROBE:
            return await _probed(look)
        case Move.PASS_OVER:
            return _passed_over(look, found.failure, _tried(look))
        case Move.BROKEN | Move.ROLLED_BACK:
            return _said(look, move, note=await BACKEND.words(ctx, found))
        case Move.NOWHERE:
            return _said(look, move, note=await BACKEND.ask_for_more(ctx, (why for _, why in look.memory.passed_over)))
        case Move.WAIT | Move.NOTHING:
            pass
    return _said(look, move)


def _tried(look: _Look) -> str:
    """The instance type that there was no room for: of an update it is not the one that serves."""
    place = look.place
    return look.types[place] if look.types and place is not None else look.hosted.instance_type


async def _begun(look: _Look, move: Move) -> Outcome:
    """Make it on the first instance type that there is quota for; the next pass tells what became of it."""
    ctx, place = look.ctx, look.place
    assert place is not None, "with none left there is nothing to make"
    recipe, instance_type = await _recipe(look, place)
    fields = await _licence(look)
    act = BACKEND.create if move is Move.CREATE else BACKEND.update
    try:
        await act(ctx, look.hosted, look.aim.config, recipe, instance_type)
    except NoRoom as none:
        return kind.with_fields(_passed_over(look, str(none), instance_type), fields)
    except PackageNotReady as waits:
        waiting = status.packaging(look.target, look.hosted, look.memory, ctx.status, str(waits))
        return kind.with_fields(waiting, fields)
    if move is Move.UPDATE:
        look.memory = replace(look.memory, updating_to=look.aim.config)
    look.hosted = await BACKEND.observe(ctx)
    return kind.with_fields(_said(look, move, recipe=recipe, instance_type=instance_type), fields)


async def _licence(look: _Look) -> Object:
    """The field `licence`: noted once for a version of a model, for later writes hide who accepted it."""
    asked = look.ctx.spec.model.jump_start
    if asked is None or not asked.accept_eula:
        return {"licence": None}
    card = look.card or await BACKEND.card(look.ctx, look.target.version)
    look.card = card
    told = {"modelID": asked.model_id, "version": card.version, **({"uri": card.licence} if card.licence else {})}
    before: Object = look.ctx.status.get("licence") or {}
    if not card.gated or told.items() <= before.items():
        return {"licence": before if card.gated else None}
    found = await look.ctx.manager_of("spec", "model", "jumpStart", "acceptEULA")
    who = {"acceptedBy": found.name, "acceptedAt": found.time} if found else {}
    return {"licence": {**told, **{name: value for name, value in who.items() if value}}}


async def _recipe(look: _Look, place: int) -> tuple[requests.Recipe, str]:
    """What the container is made of, and its instance type. Raises LicenceNotAccepted or Refused."""
    ctx, model, serving = look.ctx, look.ctx.spec.model, look.serving
    if model.marketplace is not None:
        return requests.marketplace(model.marketplace.model_package_arn), look.types[place]
    if model.jump_start is None and look.target.algorithm:
        return requests.made_by(look.target.algorithm, look.target.uri, serving), look.types[place]
    if model.jump_start is None:
        return requests.own(serving, look.target.uri), look.types[place]
    card = look.card or await BACKEND.card(ctx, look.target.version)
    look.card = card
    types: Sequence[str] = look.types or card.types[:1]
    hub.check(card, model.jump_start, types, override=serving.override_instance_types)
    recipe = hub.recipe(card, model.jump_start, types[place])
    hub.check_limits(requests.environment(recipe, serving))
    return recipe, types[place]


def _passed_over(look: _Look, why: str, name: str) -> Outcome:
    """Written down before the next one is tried: what failed must not be tried again after a restart."""
    before = tuple((other, said) for other, said in look.memory.passed_over if other != name)
    look.memory = replace(look.memory, passed_over=(*before, (name, why[:512])))
    return status.passing_over(look.target, look.hosted, look.memory, look.ctx.status, name, why)


async def _probed(look: _Look) -> Outcome:
    """Ask the golden request; what serves well makes what served before superfluous."""
    ctx, probe = look.ctx, look.ctx.spec.probe
    body = (probe.request.body or {}) if probe else await _example(look)
    answer = await BACKEND.probe(ctx, look.hosted, body, probe)
    if answer.fits:
        look.memory = replace(look.memory, probed=plan.proof(look.hosted.config, look.aim), updating_to="")
        await BACKEND.clean(ctx, look.hosted, (look.hosted.config, look.aim.config))
    said = _said(look, Move.PROBE, note="" if answer.fits else answer.said)
    if answer.fits and answer.measured:
        said = kind.with_fields(said, {"probe": speed.told(look.target.revision, answer.measured)})
    return kind.with_fields(said, await _licence(look))  # an operator that was killed when it made it has not told


async def _example(look: _Look) -> Object:
    look.card = look.card or await BACKEND.card(look.ctx, look.target.version)
    return look.card.probe or {"inputs": "Hello", "parameters": {"max_new_tokens": 1}}


def _said(look: _Look, move: Move, *, note: str = "", recipe: requests.Recipe | None = None, instance_type: str = "") -> Outcome:
    ctx = look.ctx
    if move in {Move.CREATE, Move.UPDATE, Move.WAIT, Move.REMOVE, Move.SCALE}:
        BACKEND.watch(ctx, look.hosted)
    made = status.Told(
        move,
        look.target,
        look.hosted,
        look.memory,
        note=note,
        image=recipe.image if recipe else "",
        instance_type=instance_type,
        hourly=_price(ctx, look.hosted.instance_type or instance_type),
        proven=look.memory.probed == plan.proof(look.hosted.config, look.aim) and look.hosted.config == look.aim.config,
    )
    return status.outcome(made, ctx.spec.sage_maker.replicas.min, ctx.status, ctx.clock.now())


def _price(ctx: Pass, instance_type: str) -> Decimal | None:
    """US dollars an hour of one instance; None where it has no price."""
    if not instance_type:
        return None
    return ctx.clouds.prices.hourly(BACKEND.account(ctx).region, HOSTING, instance_type)


async def unless_idle(ctx: Pass, made: Outcome, opening: datetime | None) -> Outcome:
    """Where it serves: when was it last asked? What was not for too long is stopped by the next pass, for this one only says so.

    CloudWatch is asked when it may be idle, and not before.
    """
    told = made.fields.get("sageMaker") or {}
    serves = any(v.type == "Ready" and v.status == "True" for v in made.conditions)
    last = idle.last_use(told) if serves else None
    if last is None:
        return made
    seconds, now = ctx.spec.idle_seconds, ctx.clock.now()
    if (left := idle.left(last, seconds, now)) > 0:
        return kind.again(made, left)
    try:
        newest = await BACKEND.last_asked(ctx, told["endpointName"], last) or last
    except Denied as error:  # what serves is none the worse for it; the account tells what is missing, too
        return kind.unknown_use(made, error.message)
    if (left := idle.left(newest, seconds, now)) > 0:
        return kind.again(kind.with_fields(made, {"sageMaker": {**told, "lastUsed": stamp(newest)}}), left)
    return kind.idle(made, seconds, {"since": stamp(newest), "under": idle.under(ctx.object, opening)})


async def finalize(ctx: Pass) -> Outcome:
    """Endpoint, configurations, models, in this order, until nothing of it is left; or leave it to whoever has the name next."""
    if ctx.spec.deletion_policy == "Retain" or BACKEND.never_began(ctx):
        return Outcome(released=True)
    if await BACKEND.delete(ctx):
        said = subscriptions.left(_product(ctx), ctx.lookup(ACCOUNTS, ctx.spec.account))
        return Outcome(released=True, events=(Event(subscriptions.STAYS, said),) if said else ())
    BACKEND.watch(ctx, await BACKEND.observe(ctx))
    return status.deleting()


def _product(ctx: Pass) -> str | None:
    """ARN of the model package, or of the algorithm that tuned the model."""
    sold = ctx.spec.model.marketplace
    return sold.model_package_arn if sold else (ctx.status.get("model") or {}).get("algorithmARN")
