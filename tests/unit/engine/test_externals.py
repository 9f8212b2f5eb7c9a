"""Things outside wake the objects that they belong to, also where the event comes before the status is written."""

from __future__ import annotations

from millrace.engine.cache import Key
from millrace.engine.externals import Externals

ONE, TWO = Key("trainingjobs", "team", "one"), Key("trainingjobs", "team", "two")


def test_an_event_wakes_the_objects_of_its_thing_and_no_others() -> None:
    held = Externals()
    held.put(ONE, ["arn:1"])
    held.put(TWO, ["arn:2", "arn:shared"])
    held.put(ONE, ["arn:1", "arn:shared"])
    assert held.told("arn:1") == (ONE,)
    assert held.told("arn:shared") == (ONE, TWO)
    assert held.told("arn:3") == ()


def test_the_thing_of_an_earlier_attempt_wakes_nobody() -> None:
    held = Externals()
    held.put(ONE, ["arn:1"])
    held.put(ONE, ["arn:2"])
    assert held.told("arn:1") == ()
    held.put(ONE, [])
    assert held.told("arn:2") == ()


def test_an_event_that_came_too_early_wakes_once_its_thing_is_known() -> None:
    held = Externals()
    assert held.told("arn:1") == ()
    assert held.put(ONE, ["arn:1"])
    assert not held.put(ONE, ["arn:1"])


def test_what_nobody_ever_asks_for_is_forgotten() -> None:
    held = Externals()
    for n in range(2000):
        held.told(f"arn:{n}")
    assert not held.put(ONE, ["arn:0"])
    assert held.put(TWO, ["arn:1999"])
