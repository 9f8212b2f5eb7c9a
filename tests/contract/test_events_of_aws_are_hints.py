"""What becomes of events changes nothing but latency: a run and the endpoint that serves its model, to the end, by the operator."""

from __future__ import annotations

import pytest

from support import cluster
from support.cluster import MODEL_ENDPOINTS, TRAINING_JOBS, gone, reaches

from .adapters import QUICK, Adapter
from .on_sagemaker import ON_SAGEMAKER, endpoint, endpoints_of, jobs_of, training
from .places import OnAws

pytestmark = [pytest.mark.cluster, pytest.mark.parametrize("adapter", ON_SAGEMAKER[:1], ids=["chain"])]
FAULTS = {"lose-events": "lost", "duplicate-events": "duplicated", "reorder-events": "reordered"}


@pytest.mark.parametrize(("fault", "counted"), FAULTS.items(), ids=FAULTS.values())
async def test_a_chain_comes_to_its_end_whatever_becomes_of_the_events(
    place: OnAws, adapter: Adapter, fault: str, counted: str
) -> None:
    served = endpoint(place.ns, "served")
    served["spec"]["model"] = {"trainingJobRef": {"name": QUICK}}
    before = place.aws.admin.counters()["events"].get(counted, 0)
    place.aws.admin.add_fault(fault, service="sagemaker")
    async with cluster.operator(place.settings):
        model = await place.client.create(MODEL_ENDPOINTS, served)
        run = await place.client.create(TRAINING_JOBS, training(place.ns, QUICK))
        await reaches(place.client, TRAINING_JOBS, place.ns, QUICK, "Succeeded")
        await reaches(place.client, MODEL_ENDPOINTS, place.ns, "served", "Serving")
        assert [len(await jobs_of(place, run)), len(await endpoints_of(place, model))] == [1, 1]
        await place.client.delete(MODEL_ENDPOINTS, place.ns, "served")
        await gone(place.client, MODEL_ENDPOINTS, place.ns, "served")
        assert await endpoints_of(place, model) == {}
    assert place.aws.admin.counters()["events"].get(counted, 0) > before, "the events of this test met the fault"
