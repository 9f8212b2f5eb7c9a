"""What the watch delivered plus what we wrote ourselves.

A write's answer goes in at once and an older watch event never overwrites it, so a pass never acts on a state older than its
own last write. Only our kinds, children that carry our labels and nodes are held, without what nobody here reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from millrace.kube import labels

Object = dict[str, Any]


class Key(NamedTuple):
    """Names an object: plural, namespace ("" for cluster-scoped), name."""

    plural: str
    namespace: str
    name: str


def key_of(plural: str, obj: Object) -> Key:
    """The key of an object."""
    return Key(plural, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def version(obj: Object) -> int:
    """The resource version as a number; 0 when it is missing."""
    return int(obj["metadata"].get("resourceVersion") or 0)


def slim(obj: Object) -> Object:
    """A copy without managed fields and the last-applied annotation, which nobody here reads and which weigh most."""
    metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    annotations = metadata.get("annotations") or {}
    if "kubectl.kubernetes.io/last-applied-configuration" in annotations:
        metadata["annotations"] = {k: v for k, v in annotations.items() if not k.startswith("kubectl.kubernetes.io/last")}
    return {**obj, "metadata": metadata}


class Cache:
    """Objects by key, and children by the uid of their owner."""

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._children: dict[str, set[Key]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def put(self, plural: str, obj: Object) -> bool:
        """Take in an object unless what we hold is as new; says whether it was taken."""
        key = key_of(plural, obj)
        held = self._objects.get(key)
        if held is not None and version(held) >= version(obj) and held["metadata"].get("uid") == obj["metadata"].get("uid"):
            return False
        if held is not None and version(held) > version(obj):
            return False
        if held is not None:
            self._disown(key, held)
        self._objects[key] = slim(obj)
        if owner := self.owner_uid(obj):
            self._children.setdefault(owner, set()).add(key)
        return True

    def _disown(self, key: Key, held: Object) -> None:
        if owner := self.owner_uid(held):
            keys = self._children.get(owner, set())
            keys.discard(key)
            if not keys:
                self._children.pop(owner, None)

    def remove(self, plural: str, obj: Object) -> None:
        """Forget an object, unless another one of that name has taken its place."""
        key = key_of(plural, obj)
        held = self._objects.get(key)
        if held is None or held["metadata"].get("uid") != obj["metadata"].get("uid"):
            return
        del self._objects[key]
        self._disown(key, held)

    def get(self, key: Key) -> Object | None:
        """The object of a key, or None."""
        return self._objects.get(key)

    def children(self, owner_uid: str, plural: str | None = None) -> list[Object]:
        """Children of an owner, sorted by name; of one plural if named."""
        keys = sorted(k for k in self._children.get(owner_uid, ()) if plural is None or k.plural == plural)
        return [self._objects[k] for k in keys]

    def all(self, plural: str) -> Iterator[Object]:
        """All objects of a plural."""
        return (obj for key, obj in self._objects.items() if key.plural == plural)

    def replace(self, plural: str, listed: Iterable[Object], listed_at: int) -> tuple[list[Object], list[Object]]:
        """Bring the cache to a fresh LIST; gives what changed and what is gone.

        `listed_at` is the newest version that was held when the list was asked for: what has come since then stays.
        """
        fresh = {key_of(plural, obj): obj for obj in listed}
        changed = [obj for obj in fresh.values() if self.put(plural, obj)]
        gone = [o for o in list(self.all(plural)) if key_of(plural, o) not in fresh and version(o) <= listed_at]
        for obj in gone:
            self.remove(plural, obj)
        return changed, gone

    @staticmethod
    def owner_uid(obj: Object) -> str | None:
        """The uid of the Millrace object that a labelled child belongs to."""
        return (obj["metadata"].get("labels") or {}).get(labels.OWNER_UID)
