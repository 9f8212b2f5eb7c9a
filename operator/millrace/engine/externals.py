"""Which object a thing outside belongs to, by the id (ARN) that events name it by. Pure.

An event may come before the status that tells of its thing is written: ids that nobody knew are kept for a while.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from millrace.engine.cache import Key

_EARLY = 1000
"""Unknown ids that are kept, the newest."""


class Externals:
    """Keys of objects by the ids of their things."""

    def __init__(self) -> None:
        self._keys: dict[str, set[Key]] = {}
        self._ids: dict[Key, frozenset[str]] = {}
        self._early: OrderedDict[str, None] = OrderedDict()

    def put(self, key: Key, ids: Iterable[str]) -> bool:
        """These are an object's things now; says whether an event about one of them has come already."""
        wanted, held = frozenset(ids), self._ids.get(key, frozenset())
        for gone in held - wanted:
            self._drop(key, gone)
        for new in wanted - held:
            self._keys.setdefault(new, set()).add(key)
        self._ids[key] = wanted
        if not wanted:
            del self._ids[key]
        early = [new for new in wanted - held if new in self._early]
        for new in early:
            del self._early[new]
        return bool(early)

    def _drop(self, key: Key, id_: str) -> None:
        keys = self._keys[id_]
        keys.discard(key)
        if not keys:
            del self._keys[id_]

    def told(self, id_: str) -> tuple[Key, ...]:
        """The objects that an event about a thing is for, sorted; an unknown id is remembered."""
        found = tuple(sorted(self._keys.get(id_, ())))
        if not found:
            self._early[id_] = None
            self._early.move_to_end(id_)
            if len(self._early) > _EARLY:
                self._early.popitem(last=False)
        return found
