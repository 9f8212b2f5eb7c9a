"""What is to be known of SageMaker's instance types that no API tells. Pure."""

from __future__ import annotations


def takes_volume(instance_type: str) -> bool:
    """Whether one may say how large the volume is, and which key encrypts it: not where the instances have disks of their own.

    As sagemaker.utils.volume_size_supported of the SageMaker Python SDK 2.257 has it.
    """
    family = instance_type.removeprefix("ml.").partition(".")[0]
    return "d" not in family and not family.startswith(("g5", "g6", "p5", "trn1"))
