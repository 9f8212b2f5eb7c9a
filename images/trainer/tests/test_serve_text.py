"""Text as it grows: whole characters, nothing of a stop string, and the same however it was cut into pieces."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_serve.sampling import Sampler, pick, softmax
from millrace_serve.text import Answer


def fed(pieces: list[bytes], stops: tuple[str, ...] = ()) -> tuple[str, bool]:
    answer = Answer(stops)
    shown = "".join(answer.feed(piece) for piece in pieces)
    return shown + answer.finish(), answer.stopped


@given(st.text(), st.lists(st.integers(0, 60)))
def test_a_text_is_the_same_however_its_bytes_are_cut(text: str, places: list[int]) -> None:
    data = text.encode()
    cuts = sorted({0, len(data), *(place for place in places if place < len(data))})
    assert fed([data[a:b] for a, b in pairwise(cuts)]) == (text, False)


def test_a_character_appears_when_it_is_whole_and_never_as_a_replacement() -> None:
    answer = Answer(())
    assert [answer.feed(bytes([byte])) for byte in "🌊é".encode()] == ["", "", "", "🌊", "", "é"]


def test_a_character_that_is_never_completed_is_dropped() -> None:
    assert fed([b"a" + "水".encode()[:2]]) == ("a", False)


STOPS = [
    ("a END b", ("END",), "a ", True, "what comes before it"),
    ("a EN b", ("END",), "a EN b", False, "what only looked like it"),
    ("a EN", ("END",), "a EN", False, "what only looked like it, at the end"),
    ("one two", ("two", "one"), "", True, "the earliest of several"),
    ("aaab", ("aab",), "a", True, "one that begins within what looked like it"),
    ("é水", ("水",), "é", True, "a character of several bytes"),
    ("abc", (), "abc", False, "none at all"),
]


@pytest.mark.parametrize(("text", "stops", "expected", "stopped", "why"), STOPS, ids=[case[-1] for case in STOPS])
def test_nothing_of_a_stop_string_is_shown(text: str, stops: tuple[str, ...], expected: str, stopped: bool, why: str) -> None:
    assert fed([text.encode()], stops) == (expected, stopped), why
    assert fed([bytes([byte]) for byte in text.encode()], stops) == (expected, stopped), why


def test_text_that_no_stop_string_begins_with_is_shown_at_once() -> None:
    answer = Answer(("END",))
    assert [answer.feed(piece) for piece in (b"abc", b"E", b"N", b"x")] == ["abc", "", "", "ENx"]


PICKS = [
    (1.0, 0.0, 0, "the likeliest for the least number"),
    (1.0, 0.49, 0, "still within its half"),
    (1.0, 0.5, 1, "the half is over"),
    (1.0, 0.999, 2, "the last one"),
    (0.5, 0.999, 0, "the nucleus is the likeliest alone"),
    (0.6, 0.999, 1, "the nucleus reaches its share with the second"),
    (1e-9, 0.999, 0, "a nucleus is never empty"),
]


@pytest.mark.parametrize(("top_p", "drawn", "expected", "why"), PICKS, ids=[case[-1] for case in PICKS])
def test_a_drawn_number_means_a_token_of_the_nucleus(top_p: float, drawn: float, expected: int, why: str) -> None:
    import numpy as np

    assert pick(np.array([0.5, 0.3, 0.2]), top_p, drawn) == expected, why


def test_drawn_tokens_follow_the_probabilities_and_the_seed() -> None:
    import numpy as np

    from millrace_serve.engine import Sampling

    logits = np.log(np.array([0.2, 0.5, 0.3], dtype=np.float32))
    runs = [[sampler.choose(logits) for _ in range(4000)] for sampler in map(Sampler, [Sampling(1, seed=5)] * 2)]
    assert runs[0] == runs[1]
    assert np.bincount(runs[0]) / 4000 == pytest.approx([0.2, 0.5, 0.3], abs=0.03)
    other = Sampler(Sampling(1, seed=6))
    assert [other.choose(logits) for _ in range(4000)] != runs[0]
    assert softmax(logits, 0.5)[1] == pytest.approx(0.25 / 0.38)
