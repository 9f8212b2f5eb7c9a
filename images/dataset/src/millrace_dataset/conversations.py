"""Examples that a chat model is tuned on: one JSON object a line, whose messages alternate between a user and the model.

Every example is looked at alone, so that what is wrong is named with its file and line; an example that only needs its last turn
dropped, or to be written in one line, is mended where the request says so.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millrace_dataset.intact import stamp
from millrace_dataset.lines import MAX_LINE_BYTES, OnBytes, Reading, SourceFile
from millrace_dataset.problems import Problem
from millrace_dataset.request import Conversations

NAMED_FAULTS = 5
BYTES_PER_TOKEN = 3
"""What a token is at least worth on average in text: English has about four bytes of UTF-8 to a token of current vocabularies."""
_STRING = re.compile(r'"(?:\\.|[^"\\])*"')
Example = dict[str, Any]


class Fault(Exception):
    """What is wrong with one example."""


@dataclass
class Count:
    """What was found in all examples; `longest` is in estimated tokens."""

    minimum: int
    examples: int = 0
    dropped: int = 0
    rewritten: int = 0
    longest: int = 0
    faulty: int = 0
    faults: list[str] = field(default_factory=list)

    def note(self, place: str, fault: Fault) -> None:
        """One more example that cannot be used; the first ones are named."""
        self.faulty += 1
        if len(self.faults) < NAMED_FAULTS:
            self.faults.append(f"{place}: {fault}")

    @property
    def summary(self) -> dict[str, int]:
        """As the answer tells it."""
        return {
            "examples": self.examples,
            "minimum": self.minimum,
            "droppedTurns": self.dropped,
            "rewrittenExamples": self.rewritten,
            "longestTokens": self.longest,
        }


def checked(
    files: list[SourceFile], rules: Conversations, work: Path | None, on_bytes: OnBytes
) -> tuple[list[SourceFile], Count]:
    """The files to go on with, and what is in them: mended copies in `work` where the rules mend. Raises Problem."""
    count = Count(rules.minimum)
    made = [_file(file, rules, work if rules.mends else None, count, on_bytes) for file in files]
    if count.faulty:
        more = f" and {count.faulty - len(count.faults)} more" * (count.faulty > len(count.faults))
        many = "example" if count.faulty == 1 else "examples"
        raise Problem("InvalidConversation", f"{count.faulty} {many} cannot be used: {'; '.join(count.faults)}{more}")
    if count.examples < rules.minimum and rules.too_few == "Refuse":
        raise Problem("TooFewExamples", f"{count.examples} examples where at least {rules.minimum} are asked for: add examples")
    return made, count


def _file(file: SourceFile, rules: Conversations, work: Path | None, count: Count, on_bytes: OnBytes) -> SourceFile:
    taken = stamp(file.path)
    if work is None:
        for _ in _examples(file, rules, count, on_bytes):
            pass
        return file
    copy = SourceFile(file.relative, work / file.relative)
    copy.path.parent.mkdir(parents=True, exist_ok=True)
    with copy.path.open("w", encoding="utf-8", newline="\n") as stream:
        for text in _examples(file, rules, count, on_bytes):
            stream.write(text + "\n")
    if stamp(file.path) != taken:
        raise Problem("PublishFailed", "the source changed while it was read: run again when nothing writes to it")
    return copy


def _examples(file: SourceFile, rules: Conversations, count: Count, on_bytes: OnBytes) -> Iterator[str]:
    """Each usable example, mended, in one line; the others are counted."""
    lines = enumerate(Reading(file, on_bytes).text_lines(), 1)
    for number, text in _joined(lines) if rules.pretty_printed == "Rewrite" else lines:
        if not text.strip():
            continue
        count.examples += 1
        try:
            yield _mended(text.strip(), rules, count)
        except Fault as fault:
            count.note(f"{file.relative}, line {number}", fault)


def _joined(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Lines, those of an object that is still open at the end of one put together under the number of the first.

    A brace at the very beginning of a line starts anew, so that an object that never closes does not swallow what follows.
    """
    held: list[str] = []
    first = depth = size = 0
    for number, line in lines:
        if held and (line.startswith("{") or depth <= 0 or size > MAX_LINE_BYTES):
            yield first, "".join(held)
            held, depth, size = [], 0, 0
        first = first if held else number
        held.append(line)
        depth, size = depth + _opened(line), size + len(line)
    yield first, "".join(held)


def _opened(line: str) -> int:
    """Brackets that a line opens and does not close; no string of JSON spans lines."""
    bare = _STRING.sub("", line)
    return sum(bare.count(mark) for mark in "{[") - sum(bare.count(mark) for mark in "}]")


def _mended(text: str, rules: Conversations, count: Count) -> str:
    spans = "\n" in text
    example = _parsed(text)
    messages, dropped = _turns(example, rules)
    tokens = sum(-(-len(message["content"].encode()) // BYTES_PER_TOKEN) for message in messages)
    if rules.max_tokens is not None and tokens > rules.max_tokens:
        raise Fault(f"about {tokens} tokens where the model takes {rules.max_tokens}; shorten the conversation")
    count.longest = max(count.longest, tokens)
    count.dropped += dropped
    count.rewritten += spans
    if not dropped and not spans:
        return text
    return json.dumps({**example, rules.messages: messages}, ensure_ascii=False)


def _parsed(text: str) -> Example:
    try:
        example = json.loads(text)
    except (ValueError, RecursionError) as error:
        hint = ", or set conversations.prettyPrinted: Rewrite" * (_opened(text) != 0)
        raise Fault(f"not JSON ({error}); write one example per line{hint}") from error
    if not isinstance(example, dict):
        raise Fault("not a JSON object; write one object a line")
    return example


def _turns(example: Example, rules: Conversations) -> tuple[list[dict[str, Any]], bool]:
    """The messages to learn from, and whether a last turn without an answer was dropped."""
    messages = example.get(rules.messages)
    if not isinstance(messages, list) or not messages:
        raise Fault(f"`{rules.messages}` must be a list of messages")
    roles = [_role(message, place, rules) for place, message in enumerate(messages)]
    turns = roles[1:] if roles[0] == "system" else roles
    _check_order(turns, len(roles) - len(turns), rules)
    if turns[-1] == "assistant":
        return messages, False
    if rules.trailing_user == "Reject":
        raise Fault(
            f"ends on a {rules.name('user')} turn: nothing follows to learn from; or set conversations.trailingUser: DropTurn"
        )
    if len(turns) == 1:
        raise Fault(f"holds no {rules.name('assistant')} turn: there is nothing to learn from")
    return messages[:-1], True


def _role(message: Any, place: int, rules: Conversations) -> str:
    where = f"{rules.messages}[{place}]"
    if not isinstance(message, dict):
        raise Fault(f"{where} is not an object with role and content")
    said, content = message.get("role"), message.get("content")
    role = next((ours for ours, theirs in rules.roles if theirs == said), None)
    if role is None:
        raise Fault(f"{where}.role {said!r} is none of {', '.join(theirs for _, theirs in rules.roles)} (case matters)")
    if not isinstance(content, str) or not content.strip():
        raise Fault(f"{where}.content must be a text that is not empty")
    return role


def _check_order(turns: list[str], skipped: int, rules: Conversations) -> None:
    if "system" in turns:
        place = turns.index("system") + skipped
        raise Fault(f"{rules.messages}[{place}]: {rules.name('system')} may stand first, and once")
    for place, role in enumerate(turns):
        wanted = ("user", "assistant")[place % 2]
        if role != wanted:
            raise Fault(
                f"{rules.messages}[{place + skipped}]: {rules.name(wanted)} is due, not {rules.name(role)}: turns alternate"
            )
    if not turns:
        raise Fault(f"holds no {rules.name('assistant')} turn: there is nothing to learn from")
