"""The `llm` handler against a real model: SmolLM2 on llama.cpp, which speaks both interfaces."""

import asyncio
import json
import urllib.request
from typing import Any

import pytest

from omnibase_infra.handlers.llm.templates import without_marks
from omnibase_spi import Handler
from tests.infra.handlers.llm.calls import ask, call, opened
from tests.support.injections import INJECTIONS
from tests.support.smollm import MODEL

SHORT = {"max_tokens": 24, "temperature": 0.0, "timeout_s": 60}
SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"const": 7}}, "additionalProperties": False}


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_it_answers(smollm_port: int, api: str) -> None:
    """With its tokens counted; and cut off where the contract wants it to be."""

    async def scenario(handler: Handler) -> None:
        result = await ask(handler, MODEL, "Say hello.", system="You are brief.", **{**SHORT, "max_tokens": 5})
        assert result["text"]
        assert result["stop"] == "length"
        assert result["usage"]["output_tokens"] == 5
        assert result["usage"]["input_tokens"] > 5

    play(smollm_port, scenario, api=api)


def test_it_answers_by_a_schema(smollm_port: int) -> None:
    """llama.cpp lets nothing else be said."""

    async def scenario(handler: Handler) -> None:
        result = await ask(handler, MODEL, "Which number?", output=SCHEMA, **{**SHORT, "max_tokens": 60})
        assert result["json"] == {"n": 7}

    play(smollm_port, scenario)


def test_calls_at_the_same_time_and_a_cancelled_one(smollm_port: int) -> None:
    """A call that is given up ends at the server too, and the others have their answers."""

    async def scenario(handler: Handler) -> None:
        given_up = asyncio.create_task(ask(handler, MODEL, "Count to a thousand.", max_tokens=900, timeout_s=60))
        results = await asyncio.gather(*(ask(handler, MODEL, f"Say {it}.", **SHORT) for it in range(3)))
        given_up.cancel()
        assert all(result["text"] for result in results)
        assert (await ask(handler, MODEL, "Say hello.", **SHORT))["text"]

    play(smollm_port, scenario)


def test_it_embeds(smollm_port: int) -> None:
    """One embedding a text, all of one length."""

    async def scenario(handler: Handler) -> None:
        result = await call(handler, "embed", {"model": MODEL, "texts": ["cats", "dogs"]}, timeout_s=60)
        assert [len(it) for it in result["embeddings"]] == [576, 576]

    play(smollm_port, scenario)


@pytest.mark.parametrize("attack", INJECTIONS)
def test_no_mark_reaches_its_tokenizer(smollm_port: int, attack: str) -> None:
    """By the model's own vocabulary: what it gets of an attack has no more special tokens than what it gets of none."""
    harmless = specials(smollm_port, "hello")
    assert specials(smollm_port, without_marks(attack)) == harmless


def test_a_mark_that_is_left_alone_would_reach_it(smollm_port: int) -> None:
    """The test above can fail: the server does take marks in a message for what they are."""
    assert specials(smollm_port, INJECTIONS[0]) > specials(smollm_port, "hello")


def play(port: int, scenario: Any, *, api: str = "openai") -> None:
    """Run a scenario with a handler."""

    async def whole() -> None:
        async with opened(port, MODEL, api=api) as handler:
            await scenario(handler)

    asyncio.run(whole())


def specials(port: int, text: str) -> int:
    """Count the special tokens in the prompt that the server makes of a message: the first 17 of this vocabulary."""
    prompt = _post(port, "/apply-template", {"messages": [{"role": "user", "content": text}]})["prompt"]
    tokens = _post(port, "/tokenize", {"content": prompt, "parse_special": True})["tokens"]
    return sum(token < 17 for token in tokens)


def _post(port: int, path: str, body: Any) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - likewise
        return json.load(reply)
