"""A byte-level BPE tokenizer as bytes: what each token stands for, which need not be whole characters."""

import json
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from millrace_serve.problems import StartProblem

END_OF_TEXT = "<|endoftext|>"


class Vocabulary:
    """tokenizer.json of a folder; StartProblem(ModelUnreadable) where it is missing or not byte-level."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_str(_read(folder / "tokenizer.json"))
        self.size = self._tokenizer.get_vocab_size()
        self.end: int | None = self._tokenizer.token_to_id(END_OF_TEXT)

    def encode(self, text: str) -> list[int]:
        """Token ids; an empty text is the end of another one, which is how texts began in training."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids or [self.end or 0]

    def data(self, token: int) -> bytes:
        """The bytes of a token; none for special ones and for ids beyond the tokenizer's."""
        return self._bytes[token] if token < len(self._bytes) else b""

    @cached_property
    def _bytes(self) -> list[bytes]:
        special = {token for token, added in self._tokenizer.get_added_tokens_decoder().items() if added.special}
        alphabet = byte_alphabet()
        names = (self._tokenizer.id_to_token(token) if token not in special else "" for token in range(self.size))
        return [_spelled(name or "", alphabet) for name in names]


def byte_alphabet() -> dict[str, int]:
    """GPT-2's character for each byte: itself where it prints, else one of those from U+0100 on, in order."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printing]
    return {chr(byte): byte for byte in printing} | {chr(0x100 + place): byte for place, byte in enumerate(others)}


def _spelled(name: str, alphabet: dict[str, int]) -> bytes:
    if all(letter in alphabet for letter in name):
        return bytes(alphabet[letter] for letter in name)
    return name.encode()  # an added token, which is written as it is


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        decoder = json.loads(text).get("decoder") or {}
    except (OSError, ValueError) as error:
        raise StartProblem("ModelUnreadable", f"{path.name} cannot be read: {error}") from error
    if decoder.get("type") != "ByteLevel":
        raise StartProblem("ModelUnreadable", f"{path.name} must be byte-level: its decoder is {decoder.get('type')!r}")
    return text
