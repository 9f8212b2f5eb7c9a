"""The states a TrainingJob can be in, as a type: status.py alone gives them reasons and conditions."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """One word for where a run is."""

    STARTING = "starting"
    QUEUED = "queued"
    PENDING = "pending"
    PODS_REFUSED = "pods refused"
    IMAGE_NOT_PULLED = "image not pulled"
    GANG_UNSCHEDULABLE = "gang unschedulable"
    INPUT_NOT_READY = "input not ready"
    RUNNING = "running"
    RESTARTING = "restarting"
    VERIFYING = "verifying"
    SUSPENDED = "suspended"
    SUCCEEDED = "succeeded"
    ALREADY_DONE = "already done"
    RESTARTS_EXHAUSTED = "restarts exhausted"
    DEADLINE_EXCEEDED = "deadline exceeded"
    CAPACITY_ENDED = "capacity ended"
    BAD_COMMAND = "bad command"
    INVALID_IMAGE = "invalid image"
    NAN_LOSS = "NaN loss"
    JOB_REFUSED = "job refused"
    COST_EXCEEDED = "cost exceeded"
    NO_CAPACITY = "no capacity"
    REPORTED = "reported"
    """The program, the preflight or the reader said itself what is wrong; the report names it."""
