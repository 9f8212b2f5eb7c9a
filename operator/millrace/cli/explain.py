"""Turns the errors of libraries and of the cluster into problems that say what to do next."""

from __future__ import annotations

import aiohttp
import yaml

from millrace.cli.problems import Exit, Problem
from millrace.kube import errors as api
from millrace.kube.credentials import NoCluster


def explained(error: BaseException) -> Problem | None:
    """The problem that an error is; None for what nobody foresaw."""
    match error:
        case Problem():
            return error
        case NoCluster():
            return Problem(str(error), "", Exit.NO_CLUSTER)
        case api.ApiError():
            return Problem(error.message, _next_step(error), _code(error))
        case aiohttp.ClientError() | TimeoutError():
            return _unreachable(str(error) or type(error).__name__)
        case yaml.YAMLError():
            return Problem(f"not valid YAML: {' '.join(str(error).split())}", "Correct the file and try again.")
        case OSError() if error.filename:
            return Problem(f"{error.filename}: {error.strerror}", "Check the path and its permissions.")
        case _:
            return None


def _unreachable(message: str) -> Problem:
    return Problem(f"the cluster did not answer: {message}", _CHECK_CLUSTER, Exit.NO_CLUSTER)


_CHECK_CLUSTER = "Is it up? See `kubectl cluster-info` or `millrace local status`; --context and --kubeconfig choose another one."


def _code(error: api.ApiError) -> Exit:
    if isinstance(error, api.NotFound):
        return Exit.NOT_FOUND
    away = isinstance(error, (api.Forbidden, api.Unavailable)) or error.status in {0, 401}
    return Exit.NO_CLUSTER if away else Exit.FAILED


def _next_step(error: api.ApiError) -> str:
    match error:
        case api.Unavailable():
            return _CHECK_CLUSTER
        case api.Forbidden():
            return "Ask for the role view (to look) or edit (to change) in this namespace: the chart adds Millrace to both."
        case api.NotFound():
            return "If the kinds are not installed: helm install millrace-crds charts/millrace-crds."
        case api.Conflict():
            return "Somebody else changed it in the same moment; try again."
        case api.Throttled():
            return "The API server is busy; try again in a moment."
        case _ if error.status == 401:
            return "Your login is not valid (any more); log in to the cluster again."
        case _:
            return ""
