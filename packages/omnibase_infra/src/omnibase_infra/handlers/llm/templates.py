"""Texts of prompts: places for values, and the marks by which prompts are built. Pure.

A server makes one text of a conversation, in which marks such as `<|im_start|>system` say where a role begins. A value
that holds such a mark could begin a role. So no text leaves here with a mark in it: a space breaks it up.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic_core import to_json

from omnibase_core.errors import InvalidExpression

_PLACE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}", re.ASCII)

_WORDS = (
    # Llama 2, T5, BERT, Gemma, ChatGLM, InternLM
    r"s|bos|eos|pad|unk|mask|cls|sep|sop|eop|eoh|eoa|(?:start|end)_of_(?:turn|image)|image_soft_token"
    # Qwen, Hermes, DeepSeek and others who follow them
    r"|tool_(?:calls?|responses?|output)|tools|think|function_call|functioncall"
    # StarCoder and SmolLM
    r"|fim_(?:prefix|middle|suffix|pad)|repo_?name|file_sep|filename|gh_stars|issue_(?:start|comment|closed)"
    r"|jupyter_(?:start|text|code|output|script)|jupyter_script_start|empty_output|commit_(?:before|msg|after)"
    # Others
    r"|turn|user|assistant|system|human|bot|end|endofturn|intermediate_to_human"
)
_NUMBERED = r"(?:unused|extra_id_|reserved_|TOKENS_UNUSED_|SPECIAL_)[0-9]{1,6}"
_BRACKETED = (
    r"INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_(?:CALLS|RESULTS|CONTENT)|CALL_ID|ARGS|THINK|IMG(?:_BREAK|_END)?"
    r"|(?:BEGIN_)?AUDIO|MODEL_SETTINGS|PREFIX|MIDDLE|SUFFIX|[gs]?MASK|PAD|UNK|CLS|SEP|BOS|EOS"
)
_OPEN, _CLOSE, _BAR = "[<\uff1c]", "[>\uff1e]", "[|\uff5c]"
_INNER = r"[^\s<>\uff1c\uff1e]{0,64}"
_KNOWN = (
    # <|im_start|>, <|start_header_id|>, the wide bars of DeepSeek, and the halves <|turn> and <turn|> of Gemma 4
    rf"{_OPEN}{_BAR}{_INNER}{_CLOSE}",
    rf"{_OPEN}(?!\s){_INNER}{_BAR}{_CLOSE}",
    rf"{_OPEN}/?(?:{_WORDS}|{_NUMBERED}|seed:[a-z_:]{{1,40}}){_CLOSE}",
    rf"[\[\uff3b]/?(?:{_BRACKETED})[\]\uff3d]",
    r"<</?SYS>>",
    # MiniMax
    r"\]~!?b[\[\]]",
    r"\[e~\[",
)


def check_template(text: str, values: Mapping[str, Any]) -> None:
    """Raise InvalidExpression, with its place in the text, unless each place has its value and each value its place."""
    places = {match[1]: match.start() for match in _PLACE.finditer(text)}
    for name, offset in places.items():
        if name not in values:
            raise _at(text, offset, f"{{{{{name}}}}} has no value; write it under values: {name}: ...")
    for name in values:
        if name not in places:
            raise _at(text, 0, f"the value {name!r} has no place in the text; write {{{{{name}}}}} there, or remove it")
    rest = _PLACE.sub(lambda match: " " * len(match[0]), text)
    if (stray := rest.find("{{")) >= 0:
        raise _at(text, stray, "found '{{' that begins no place; a place is {{name}}, with letters, digits and _")


def filled(text: str, values: Mapping[str, Any]) -> str:
    """Put the values into their places, all at once: a value that looks like a place stays as it is."""
    return _PLACE.sub(lambda match: _as_text(values[match[1]]), text)


def without_marks(text: str, special_tokens: Sequence[str] = ()) -> str:
    """Break up every mark by which prompts are built, known ones and these, with a space behind its first character."""
    marks = _marks(tuple(special_tokens))
    while (broken := marks.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)) != text:
        # What is broken up may uncover another mark. No mark has a space in it, so that this comes to an end.
        text = broken
    return text


def tree_without_marks(tree: Any, special_tokens: Sequence[str] = ()) -> Any:
    """Do the same to every text of a JSON value, keys included."""
    match tree:
        case str():
            return without_marks(tree, special_tokens)
        case Mapping():
            return {
                without_marks(key, special_tokens): tree_without_marks(value, special_tokens)
                for key, value in tree.items()
            }
        case list():
            return [tree_without_marks(item, special_tokens) for item in tree]
    return tree


def has_marks(text: str, special_tokens: Sequence[str] = ()) -> bool:
    """Whether a text holds a mark."""
    return _marks(tuple(special_tokens)).search(text) is not None


@cache
def _marks(special_tokens: tuple[str, ...]) -> re.Pattern[str]:
    # Longer ones first: what is a part of another mark must not hide it.
    own = [re.escape(it) for it in sorted(special_tokens, key=len, reverse=True)]
    return re.compile("|".join((*own, *_KNOWN)))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value).decode()


def _at(text: str, offset: int, message: str) -> InvalidExpression:
    before = text[:offset]
    line = before.count("\n") + 1
    return InvalidExpression(message, text=text, line=line, column=offset - (before.rfind("\n") + 1) + 1)
