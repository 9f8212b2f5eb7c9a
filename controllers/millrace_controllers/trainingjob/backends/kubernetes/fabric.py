"""The network between the pods: the environment and the rights that EFA and NCCL need, and nothing that they choose better.

Sources: the EFA cheatsheet of awslabs/awsome-distributed-training, and NVIDIA's own EKS plugin for NeMo. FI_EFA_USE_DEVICE_RDMA,
NCCL_PROTO and FI_EFA_FORK_SAFE are for libraries older than libfabric 1.18; RDMAV_FORK_SAFE breaks things on newer kernels.
"""

from __future__ import annotations

from millrace_controllers.trainingjob.backends.kubernetes.demand import Demand

NET_PLUGIN = "/opt/amazon/ofi-nccl/lib/libnccl-net.so"
"""Where the EFA installer puts NCCL's plugin. It must be named: NVIDIA's PyTorch images from 26.06 on name spcx, which cannot
drive EFA, and NCCL then falls back to TCP without a word."""

SLOW_PEER_FAMILIES = ("g5", "g6")
"""GPUs without peer access: copying through shared memory by the copy engine is about twice as fast there."""


def environment(asked: Demand) -> dict[str, str]:
    """Defaults for the training container; the user's own environment goes on top. Empty for a pod without accelerators."""
    return {**(_nccl(asked) if asked.gpus else {}), **(_efa(asked) if asked.efa else {})}


def capabilities(asked: Demand) -> tuple[str, ...]:
    """EFA registers memory with the device and must be able to pin it; privileged mode is not needed."""
    return ("IPC_LOCK",) if asked.efa else ()


def _nccl(asked: Demand) -> dict[str, str]:
    # By exclusion, because the name of a pod's interface is the network plugin's choice.
    env = {"NCCL_SOCKET_IFNAME": "^lo,docker,veth", "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1"}
    if asked.instance is not None and asked.instance.family in SLOW_PEER_FAMILIES:
        env["NCCL_SHM_USE_CUDA_MEMCPY"] = "1"
    return env


def _efa(asked: Demand) -> dict[str, str]:
    # The provider is what libfabric would choose; naming it makes a missing device an error instead of a slow run.
    env = {"FI_PROVIDER": "efa", "FI_EFA_USE_HUGE_PAGE": "1" if asked.hugepages else "0"}
    if asked.gpus:
        env["NCCL_NET_PLUGIN"] = NET_PLUGIN
    return env
