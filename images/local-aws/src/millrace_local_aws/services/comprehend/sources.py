"""Where training data and documents lie in S3, and whether the role may reach them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millrace_local_aws.services.comprehend.documents import BadData, Corpus, check, check_test, read_csv, read_manifest, splitter
from millrace_local_aws.services.roles import role_reads, split_uri
from millrace_local_aws.services.s3.objects import Version

if TYPE_CHECKING:
    from millrace_local_aws.world import World

NO_READ = "NO_READ_ACCESS_TO_INPUT: The provided data access role does not have proper access to the input data."
NO_WRITE = "NO_WRITE_ACCESS_TO_OUTPUT: The provided data access role does not have write access to the output S3 URI."


@dataclass(frozen=True)
class File:
    """One object of S3 that can be read later, in another thread."""

    name: str
    version: Version


@dataclass(frozen=True)
class Source:
    """Files of one form: rows of CSV, or lines of a manifest with these attributes."""

    files: tuple[File, ...]
    test: bool = False
    attributes: tuple[str, ...] | None = None
    delimiter: str | None = None


def files(world: World, role: str, uri: str) -> tuple[File, ...]:
    """All objects that begin with the URI; raises BadData where the role may not read them or there is none."""
    bucket, prefix = split_uri(uri)
    if world.s3.buckets.get("", bucket) is None or not role_reads(world, role, bucket, "", "s3:ListBucket"):
        raise BadData(NO_READ)
    found = [version for version in world.s3.keys(bucket, prefix) if not version.key.endswith("/")]
    if not found:
        raise BadData(f"INVALID_INPUT: There is no object at {uri}.")
    if not all(role_reads(world, role, bucket, version.key) for version in found):
        raise BadData(NO_READ)
    return tuple(File(version.key.rpartition("/")[2], version) for version in found)


def check_writable(world: World, role: str, uri: str) -> None:
    """Raises BadData where the role may not write below the URI."""
    bucket, prefix = split_uri(uri)
    key = f"{prefix.rstrip('/')}/output".lstrip("/")
    if world.s3.buckets.get("", bucket) is None or not role_reads(world, role, bucket, key, "s3:PutObject"):
        raise BadData(NO_WRITE)


def sources(world: World, role: str, config: dict[str, Any]) -> list[Source]:
    """Of a classifier's InputDataConfig."""
    if config.get("DataFormat") == "AUGMENTED_MANIFEST":
        return [_manifest(world, role, one) for one in config["AugmentedManifests"]]
    delimiter = config.get("LabelDelimiter")
    found = [Source(files(world, role, config["S3Uri"]), delimiter=delimiter)]
    if "TestS3Uri" in config:
        found.append(Source(files(world, role, config["TestS3Uri"]), test=True, delimiter=delimiter))
    return found


def _manifest(world: World, role: str, one: dict[str, Any]) -> Source:
    return Source(files(world, role, one["S3Uri"]), one.get("Split") == "TEST", tuple(one["AttributeNames"]))


def read(world: World, found: list[Source], mode: str) -> tuple[Corpus, Corpus | None]:
    """Training and test documents; raises BadData. Only files are read, so that another thread may do it."""
    training, test = Corpus(), Corpus()
    for source in found:
        for corpus in corpora(world, source, mode):
            (test if source.test else training).extend(corpus)
    check(training, mode)
    if not any(source.test for source in found):
        return training, None
    check_test(training, test)
    return training, test


def corpora(world: World, source: Source, mode: str) -> Iterator[Corpus]:
    """One a file."""
    for file in source.files:
        data = world.s3.read(file.version)
        if source.attributes is None:
            yield read_csv(file.name, data, splitter(mode, source.delimiter))
        else:
            yield read_manifest(file.name, data, list(source.attributes), mode)
