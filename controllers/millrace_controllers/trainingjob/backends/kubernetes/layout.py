"""Where things lie on claims and in pods: one rule for every pod of a run. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from millrace.api.common import ClaimPath
from millrace.api.v1alpha1.trainingjob import IMMUTABLE_IN_RUN, TrainingJobSpec, Volume
from millrace.kube import pods
from millrace.kube.pods import Mount
from millrace_controllers.trainingjob.observed import ResolvedInput

Object = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """A folder on a claim: as pods see it, and as status names it."""

    claim: str
    path: str
    directory: str

    @property
    def uri(self) -> str:
        """claim://<claim>/<path>"""
        return f"claim://{self.claim}/{self.path}".rstrip("/")

    def child(self, path: str) -> str:
        """The uri of something in the folder."""
        return self.uri if path in {"", "."} else f"{self.uri}/{path}"


def output(spec: TrainingJobSpec) -> Place:
    """Where results go."""
    claim = _output_claim(spec)
    return _place(spec, claim.name, claim.path)


def _output_claim(spec: TrainingJobSpec) -> ClaimPath:
    assert spec.output.claim is not None, "a rule of the schema has it that pods write to a claim"
    return spec.output.claim


def checkpoints(spec: TrainingJobSpec) -> Place:
    """Where checkpoints go: their own place, else a folder in the output."""
    claim = spec.checkpoint.claim if spec.checkpoint else None
    if claim is not None:
        return _place(spec, claim.name, claim.path)
    claim = _output_claim(spec)
    return _place(spec, claim.name, f"{claim.path}/checkpoints".lstrip("/"))


def input_path(spec: TrainingJobSpec, found: ResolvedInput) -> str:
    """Where a pod finds an input."""
    return pods.under(root(spec, found.claim), found.path)


def _place(spec: TrainingJobSpec, claim: str, path: str) -> Place:
    return Place(claim, path, pods.under(root(spec, claim), path))


def root(spec: TrainingJobSpec, claim: str) -> str:
    """Where a claim is mounted in every pod of the run."""
    named = next((v.mount_path for v in volumes(spec) if v.claim == claim and v.mount_path), None)
    return named or pods.claim_root(claim)


def volumes(spec: TrainingJobSpec) -> list[Volume]:
    """The volumes that the spec names."""
    return (spec.kubernetes.volumes if spec.kubernetes else None) or []


def mounts(spec: TrainingJobSpec, inputs: tuple[ResolvedInput, ...]) -> tuple[Mount, ...]:
    """Every claim of the run, once; inputs read-only unless results go to the same claim."""
    written = [v.claim for v in volumes(spec)] + [output(spec).claim, checkpoints(spec).claim]
    made = [Mount(claim, root(spec, claim)) for claim in written]
    made += [Mount(i.claim, root(spec, i.claim), read_only=True) for i in inputs]
    return pods.unique(made)


def spec_digest(spec: TrainingJobSpec) -> str:
    """Digest of what the run does: of just those fields that may not change within a run.

    Without defaults: a field that a later version of the operator adds must not make another run of one that is under way. And
    without what is only shown.
    """
    fields, shown = {_python_name(name) for name in IMMUTABLE_IN_RUN}, {"sage_maker": {"algorithm": {"product_page"}}}
    return digest(spec.model_dump(mode="json", by_alias=True, include=fields, exclude=shown, exclude_defaults=True))


def parameters_digest(spec: TrainingJobSpec) -> str:
    """Digest of spec.parameters."""
    return digest(spec.parameters or {})


def digest(value: Any) -> str:
    """ "sha256:<hex>" of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _python_name(alias: str) -> str:
    return next(n for n, f in TrainingJobSpec.model_fields.items() if (f.alias or n) == alias)


def run(owner: Object, spec: TrainingJobSpec) -> dict[str, str]:
    """What names a run in its record."""
    metadata = owner["metadata"]
    return {
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "runID": spec.run_id or "",
        "specDigest": spec_digest(spec),
    }
