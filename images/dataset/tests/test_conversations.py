"""Examples to tune a chat model on: each line is looked at alone, and what is wrong is named with its line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Work = Callable[..., dict[str, Any]]
ROLES = {"system": "System", "user": "User", "assistant": "Chatbot"}
RULES = {
    "messages": "messages",
    "roles": ROLES,
    "trailingUser": "Reject",
    "prettyPrinted": "Reject",
    "minimum": 2,
    "tooFew": "Warn",
    "maxTokens": None,
}


def example(*turns: str, **extra: Any) -> dict[str, Any]:
    """`S:`, `U:` and `C:` stand for the roles."""
    names = {"S": "System", "U": "User", "C": "Chatbot"}
    return {"messages": [{"role": names[turn[0]], "content": turn[2:]} for turn in turns], **extra}


GOOD = example("S:Be brief.", "U:Is it good?", "C:positive")
OTHER = example("U:Is it bad?", "C:negative", "U:Sure?", "C:yes")


def chat(work: Work, claims: Path, *lines: Any, **rules: Any) -> dict[str, Any]:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (claims / "raw" / "train.jsonl").write_text(text)
    return work(format="jsonl", conversations=RULES | rules)


def published(claims: Path, answer: dict[str, Any]) -> list[dict[str, Any]]:
    text = (claims / "data" / answer["splits"]["data"]["path"]).read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_usable_examples_are_published_as_they_are(work: Work, claims: Path) -> None:
    answer = chat(work, claims, GOOD, "", OTHER)
    assert answer["ok"], answer
    assert published(claims, answer) == [GOOD, OTHER]
    assert answer["conversations"] == {
        "examples": 2,
        "minimum": 2,
        "droppedTurns": 0,
        "rewrittenExamples": 0,
        "longestTokens": 10,
    }
    assert not list((claims / "data" / "corpus").glob(".work*")), "nothing is left beside what was published"


FAULTY = [
    ('{"messages": [}', "not JSON", "each line is parsed alone"),
    ("[1, 2]", "not a JSON object", "a list is no example"),
    ({"turns": []}, "`messages` must be a list", "the messages are missing"),
    ({"messages": []}, "`messages` must be a list", "there is no message"),
    ({"messages": ["hello"]}, "messages[0] is not an object", "a text is no message"),
    (
        example("U:a") | {"messages": [{"role": "user", "content": "a"}]},
        "messages[0].role 'user' is none of System, User, Chatbot",
        "case matters",
    ),
    ({"messages": [{"role": "User", "content": " "}]}, "messages[0].content must be a text", "an empty turn teaches nothing"),
    ({"messages": [{"role": "User", "content": None}]}, "messages[0].content must be a text", "neither does a missing one"),
    (example("U:a", "S:b", "C:c"), "messages[1]: System may stand first, and once", "the system speaks first"),
    (example("S:a", "S:b", "U:c", "C:d"), "messages[1]: System may stand first, and once", "and once"),
    (example("U:a", "U:b", "C:c"), "messages[1]: Chatbot is due, not User", "turns alternate"),
    (example("S:a", "C:b"), "messages[1]: User is due, not Chatbot", "a user begins"),
    (example("S:a"), "holds no Chatbot turn", "instructions alone teach nothing"),
    (example("U:a", "C:b", "U:c"), "ends on a User turn", "the last turn has no answer"),
]


@pytest.mark.proves("15.1")
@pytest.mark.parametrize(("line", "message", "why"), FAULTY, ids=[case[2] for case in FAULTY])
def test_an_example_that_cannot_be_used_is_named_with_its_line(
    work: Work, claims: Path, line: Any, message: str, why: str
) -> None:
    answer = chat(work, claims, GOOD, line, OTHER)
    assert (answer["ok"], answer.get("reason")) == (False, "InvalidConversation"), why
    assert answer["message"].startswith("1 example cannot be used: train.jsonl, line 2: "), "the lines around it are good"
    assert message in answer["message"], why
    assert not (claims / "data" / "corpus").exists() or not list((claims / "data" / "corpus").iterdir())


def test_the_first_faults_are_named_and_all_are_counted(work: Work, claims: Path) -> None:
    answer = chat(work, claims, *["x"] * 7, GOOD)
    assert answer["message"].startswith("7 examples cannot be used: train.jsonl, line 1: not JSON")
    assert "line 5: not JSON" in answer["message"]
    assert answer["message"].endswith("and 2 more")


@pytest.mark.proves("15.2")
def test_a_last_turn_without_an_answer_is_dropped_where_that_is_the_policy(work: Work, claims: Path) -> None:
    asking = example("S:a", "U:b", "C:c", "U:d", id=7)
    answer = chat(work, claims, asking, OTHER, trailingUser="DropTurn")
    assert published(claims, answer) == [example("S:a", "U:b", "C:c", id=7), OTHER]
    assert answer["conversations"]["droppedTurns"] == 1
    refused = chat(work, claims, example("U:a"), trailingUser="DropTurn")
    assert "holds no Chatbot turn" in refused["message"], "nothing would be left of it"


@pytest.mark.proves("15.3")
@pytest.mark.parametrize(("examples", "policy", "ok"), [(99, "Refuse", False), (100, "Refuse", True), (99, "Warn", True)])
def test_too_few_examples_are_refused_where_that_is_the_policy(
    work: Work, claims: Path, examples: int, policy: str, ok: bool
) -> None:
    lines = [example(f"U:question {number}", "C:answer") for number in range(examples)]
    answer = chat(work, claims, *lines, minimum=100, tooFew=policy)
    assert answer["ok"] is ok
    if ok:
        assert answer["conversations"]["examples"] == examples
    else:
        assert (answer["reason"], "99 examples where at least 100" in answer["message"]) == ("TooFewExamples", True)


@pytest.mark.proves("15.4")
def test_pretty_printed_examples_are_told_from_other_faults(work: Work, claims: Path) -> None:
    answer = chat(work, claims, GOOD, json.dumps(OTHER, indent=2))
    assert "line 2: not JSON" in answer["message"]
    assert "write one example per line, or set conversations.prettyPrinted: Rewrite" in answer["message"]


@pytest.mark.proves("15.4")
def test_pretty_printed_examples_are_written_one_a_line_where_that_is_the_policy(work: Work, claims: Path) -> None:
    tricky = example('U:a {brace and a " quote', "C:b ]")
    answer = chat(work, claims, json.dumps(tricky, indent=2), OTHER, json.dumps(GOOD, indent=4), prettyPrinted="Rewrite")
    assert answer["ok"], answer
    assert published(claims, answer) == [tricky, OTHER, GOOD]
    assert answer["conversations"]["rewrittenExamples"] == 2
    open_ended = chat(work, claims, GOOD, '{"messages": [', OTHER, prettyPrinted="Rewrite")
    assert open_ended["message"].startswith("1 example cannot be used: train.jsonl, line 2: not JSON"), "it swallows nothing"


@pytest.mark.proves("15.6")
def test_an_example_longer_than_the_model_takes_is_refused(work: Work, claims: Path) -> None:
    fits, longer = example("U:" + "a" * 27, "C:" + "b" * 3), example("U:" + "a" * 28, "C:" + "b" * 3)
    assert chat(work, claims, GOOD, fits, maxTokens=10)["conversations"]["longestTokens"] == 10
    answer = chat(work, claims, fits, longer, maxTokens=10)
    assert "train.jsonl, line 2: about 11 tokens where the model takes 10" in answer["message"]
    wide = chat(work, claims, GOOD, example("U:" + "語" * 9, "C:x"), maxTokens=9)
    assert "about 10 tokens" in wide["message"], "bytes count, not characters"


def test_rows_that_stand_twice_meet_in_one_split(work: Work, claims: Path) -> None:
    lines = [example(f"U:question {number % 60}", "C:answer") for number in range(120)]
    (claims / "raw" / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    split = {"train": "0.8", "validation": "0.2", "test": "0", "seed": 1}
    answer = work(format="jsonl", conversations=RULES, split=split)
    folder = claims / "data"
    train, validation = (
        set((folder / answer["splits"][name]["path"]).read_text().splitlines()) for name in ("train", "validation")
    )
    assert train & validation == set()
    assert answer["splits"]["train"]["rows"] + answer["splits"]["validation"]["rows"] == 120
