"""Which objects a change concerns beside the object itself: those that refer to it, and those whose thing outside it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace.engine.cache import Cache, Key
from millrace.engine.controller import Controller
from millrace.engine.externals import Externals
from millrace.engine.queue import Queue

Object = dict[str, Any]
_NOTHING = object()


class Wakes:
    """References between objects, and ids of things outside, as the newest states of the objects tell them."""

    def __init__(self, queue: Queue, cache: Cache, controllers: Mapping[str, Controller]) -> None:
        self._queue = queue
        self._cache = cache
        self._controllers = controllers
        self._references: dict[Key, set[Key]] = {}
        self._told: dict[Key, Any] = {}
        self._externals = Externals()

    def changed(self, key: Key, obj: Object) -> None:
        """An object of ours is new, changed or gone."""
        for referenced in self._controllers[key.plural].references(obj):
            self._references.setdefault(referenced, set()).add(key)
        self.seen(key, obj)
        self._queue.add(key)
        self.referrers(key, obj)

    def seen(self, key: Key, obj: Object) -> None:
        """Its things outside; also of an echo of our own write: that is where a thing's ARN comes from."""
        gone = self._cache.get(key) is None
        if self._externals.put(key, () if gone else self._controllers[key.plural].external_ids(obj)):
            self._queue.add(key)

    def referrers(self, key: Key, obj: Object) -> None:
        """Wake what refers to an object, where it says something new that concerns them."""
        tells = self._controllers[key.plural].tells if key.plural in self._controllers else None
        if tells is not None:
            told = None if self._cache.get(key) is None else tells(obj)
            if self._told.get(key, _NOTHING) == told:
                return
            self._told[key] = told
        for waiting in self._references.get(key, ()):
            self._queue.add(waiting)

    def by_id(self, id_: str) -> int:
        """An event told of a thing outside; says how many objects it woke."""
        keys = self._externals.told(id_)
        for key in keys:
            self._queue.add(key)
        return len(keys)
