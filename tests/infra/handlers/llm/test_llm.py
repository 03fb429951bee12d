"""The `llm` handler against a stand-in of a server of models that can be in any trouble. Nothing is mocked."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from omnibase_infra.handlers.llm import LlmHandlerFactory
from omnibase_infra.handlers.llm.target import LlmTarget
from omnibase_spi import Handler, HandlerError
from tests.infra.handlers.llm.calls import SECRET, ask, call, failure, opened
from tests.support.llm_server import ODD, ODD_COUNTS, ODD_USAGES, LlmServer

SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
WEATHER = {
    "name": "weather",
    "description": "The weather of a town.",
    "parameters": {"type": "object", "required": ["town"], "properties": {"town": {"type": "string"}}},
}
PRICE = {"input_usd_per_million": 1.0, "output_usd_per_million": 10.0}

api = pytest.mark.parametrize("api", ["openai", "anthropic"])
Scenario = Callable[[Handler], Awaitable[Any]]


def play(server: LlmServer, scenario: Scenario, *models: str, **target: Any) -> Any:
    """Run a scenario with a handler, and give what it gives."""

    async def whole() -> Any:
        async with opened(server.port, *models, **target) as handler:
            return await scenario(handler)

    return asyncio.run(whole())


# --- Answers ------------------------------------------------------------------------------------------------------


@api
def test_an_answer_is_put_together_and_counted(llm_stand_in: LlmServer, api: str) -> None:
    """Text, reason, model, tokens and cost, by the host contract's prices."""
    result = play(
        llm_stand_in, lambda it: ask(it, "echo", "one two three", system="Be kind."), api=api, models={"echo": PRICE}
    )
    assert result["text"].strip() == "one two three"
    assert (result["stop"], result["model"], result["json"], result["tool_calls"]) == ("end", "echo", None, [])
    usage = {"input_tokens": 10, "output_tokens": 3, "cost_usd": 4e-05, "requests": 1, "estimated": False}
    assert result["usage"] == pytest.approx(usage)


@api
def test_each_says_what_it_says_in_its_own_role(llm_stand_in: LlmServer, api: str) -> None:
    """The system, what was said before, and the messages; results of tools where the interface has them."""
    conversation = [
        {"role": "user", "text": "Weather?"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "name": "weather", "arguments": {"town": "Bern"}}]},
        {"role": "tool", "tool_call_id": "c1", "text": "rain"},
    ]
    play(
        llm_stand_in,
        lambda it: ask(it, "echo", system="S", conversation=conversation, tools=[WEATHER], temperature=0.5),
        "echo",
        api=api,
    )
    asked = llm_stand_in.asked[-1]
    assert asked["temperature"] == 0.5
    if api == "openai":
        assert [it["role"] for it in asked["messages"]] == ["system", "user", "assistant", "tool", "user"]
        assert asked["messages"][2]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"town":"Bern"}'}
        assert asked["max_tokens"] == 1024
    else:
        assert asked["system"] == "S"
        assert [it["role"] for it in asked["messages"]] == ["user", "assistant", "user"]
        assert [it["type"] for it in asked["messages"][2]["content"]] == ["tool_result", "text"]
        assert asked["max_tokens"] == 1024


@api
def test_an_answer_that_was_cut_off_says_so(llm_stand_in: LlmServer, api: str) -> None:
    """It is a result, whose `stop` is length."""
    assert play(llm_stand_in, lambda it: ask(it, "short"), "short", api=api)["stop"] == "length"


def test_what_the_server_does_not_count_is_estimated(llm_stand_in: LlmServer) -> None:
    """Four bytes are a token; the result says that it is an estimate."""
    usage = play(llm_stand_in, lambda it: ask(it, "uncounted", "12345678"), "uncounted")["usage"]
    assert usage["estimated"]
    assert usage["input_tokens"] > 0
    assert usage["output_tokens"] == 3


@api
@pytest.mark.parametrize(
    "model", [*(f"counts-{it}" for it in range(len(ODD_COUNTS))), *(f"usage-{it}" for it in range(len(ODD_USAGES)))]
)
def test_what_is_no_count_of_tokens_is_unknown(llm_stand_in: LlmServer, api: str, model: str) -> None:
    """However large, negative, broken or odd: the answer comes, and what it took is estimated."""

    async def scenario(handler: Handler) -> None:
        usages = [(await ask(handler, model, "one two three"))["usage"]]
        if api == "openai":
            usages += [(await call(handler, "embed", {"model": model, "texts": ["one two"]}))["usage"]]
        for usage in usages:
            assert usage["estimated"]
            assert 0 < usage["input_tokens"] < 1_000
            assert 0 <= usage["output_tokens"] < 1_000
            assert 0 < usage["cost_usd"] < 1

    play(llm_stand_in, scenario, api=api, models={model: PRICE}, budget={"tokens": 10_000, "usd": 1})


@api
@pytest.mark.parametrize("model", ["whole", "quoted"])
def test_a_count_in_another_form_is_a_count(llm_stand_in: LlmServer, api: str, model: str) -> None:
    """`12.0` is a whole number in JSON, and the vendors' libraries read "12" as one, too."""
    usage = play(llm_stand_in, lambda it: ask(it, model, "one two three"), model, api=api)["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["estimated"]) == (10, 3, False)


def test_an_embedding_beyond_all_floats_is_no_reply(llm_stand_in: LlmServer) -> None:
    """It is an error of the protocol, and no OverflowError."""
    with pytest.raises(HandlerError) as caught:
        play(llm_stand_in, lambda it: call(it, "embed", {"model": "vast", "texts": ["a"]}), "vast")
    assert (caught.value.code, caught.value.retryable) == ("protocol_error", True)


def test_embeddings_come_in_the_order_of_their_texts(llm_stand_in: LlmServer) -> None:
    """Whatever the order in which the server gives them."""
    result = play(llm_stand_in, lambda it: call(it, "embed", {"model": "echo", "texts": ["a", "bcd"]}), "echo")
    assert result["embeddings"] == [[1.0, 1.0], [3.0, 1.0]]
    assert result["usage"]["input_tokens"] == 3


def test_anthropic_has_no_embeddings(llm_stand_in: LlmServer) -> None:
    """That is said, and not retried."""
    with pytest.raises(HandlerError, match="no embeddings") as caught:
        play(llm_stand_in, lambda it: call(it, "embed", {"model": "echo", "texts": ["a"]}), "echo", api="anthropic")
    assert (caught.value.code, caught.value.retryable) == ("not_offered", False)


# --- Output by a schema -------------------------------------------------------------------------------------------


@api
def test_an_answer_that_does_not_fit_is_asked_for_again(llm_stand_in: LlmServer, api: str) -> None:
    """With the answer and what is wrong with it, and every request is on the bill."""
    result = play(llm_stand_in, lambda it: ask(it, "learns", output=SCHEMA), "learns", api=api)
    assert result["json"] == {"n": 1}
    assert result["usage"]["requests"] == 3
    assert result["usage"]["input_tokens"] == 30
    messages = llm_stand_in.asked[-1]["messages"]
    assert [it["role"] for it in messages] == ["user", "assistant", "user", "assistant", "user"]
    assert "not valid JSON" in str(messages[2])
    assert "$.n" in str(messages[4])


def test_a_model_that_never_fits_is_given_up(llm_stand_in: LlmServer) -> None:
    """After as many requests as the contract says, and for good."""
    error = play(llm_stand_in, lambda it: failure(it, "stubborn", output=SCHEMA, output_attempts=2), "stubborn")
    assert (error.code, error.retryable) == ("output_invalid", False)
    assert "asked 2 times" in str(error)
    assert error.details["faults"]


def test_asking_again_ends_with_the_calls_time(llm_stand_in: LlmServer) -> None:
    """However often it may be asked."""

    async def scenario(handler: Handler) -> None:
        began_s = time.monotonic()
        error = await failure(handler, "stubborn", output=SCHEMA, output_attempts=10, timeout_s=0.01)
        assert error.code == "timeout"
        assert time.monotonic() - began_s < 1

    play(llm_stand_in, scenario, "stubborn")


@api
def test_the_schema_goes_to_the_server_or_is_told_in_words(llm_stand_in: LlmServer, api: str) -> None:
    """As the host contract says of the server."""
    result = play(llm_stand_in, lambda it: ask(it, "echo", "7", output=SCHEMA), "echo", api=api)
    assert result["json"] == {"n": 7}
    asked = llm_stand_in.asked[-1]
    native = asked["response_format"]["json_schema"] if api == "openai" else asked["output_config"]["format"]
    assert native["schema"] == SCHEMA
    result = play(
        llm_stand_in, lambda it: ask(it, "echo", '{"n":8}', output=SCHEMA), "echo", api=api, schema_output=False
    )
    assert result["json"] == {"n": 8}
    asked = llm_stand_in.asked[-1]
    assert not asked.keys() & {"response_format", "output_config"}
    assert '"integer"' in str(asked["messages"] if api == "openai" else asked["system"])


# --- Tools --------------------------------------------------------------------------------------------------------


@api
def test_calls_of_tools_are_data(llm_stand_in: LlmServer, api: str) -> None:
    """The handler calls nothing: the node decides."""
    result = play(llm_stand_in, lambda it: ask(it, "calls", tools=[WEATHER]), "calls", api=api)
    assert result["stop"] == "tool_calls"
    assert result["tool_calls"] == [
        {"id": "call_a", "name": "weather", "arguments": {"town": "Bern"}},
        {"id": "call_b", "name": "weather", "arguments": {"town": "Chur"}},
    ]


@api
def test_arguments_that_do_not_fit_are_asked_for_again(llm_stand_in: LlmServer, api: str) -> None:
    """Each call gets what is wrong as its tool's result."""
    result = play(llm_stand_in, lambda it: ask(it, "calls-badly", tools=[WEATHER]), "calls-badly", api=api)
    assert result["tool_calls"][0]["arguments"] == {"town": "Bern"}
    assert result["usage"]["requests"] == 2
    assert "arguments of weather" in str(llm_stand_in.asked[-1]["messages"][-1])


@api
def test_a_tool_that_is_not_offered_is_never_asked_for(llm_stand_in: LlmServer, api: str) -> None:
    """What a model makes up does not reach the node."""
    error = play(
        llm_stand_in,
        lambda it: failure(it, "calls-wildly", tools=[WEATHER], output_attempts=2),
        "calls-wildly",
        api=api,
    )
    assert error.code == "output_invalid"
    assert "no tool 'rm'" in str(error)


# --- Dialects of OpenAI's interface -------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["ids", "ids-at-once", "ids-in-parts", "ids-mixed", "names-alone"])
def test_calls_of_tools_without_an_index_are_told_apart(llm_stand_in: LlmServer, model: str) -> None:
    """By their ids; what has neither continues the last, and a name behind arguments begins another."""
    result = play(llm_stand_in, lambda it: ask(it, model, tools=[WEATHER], output_attempts=1), model)
    ids = ["call_0", "call_1"] if model == "names-alone" else ["a", "b"]
    assert [it["id"] for it in result["tool_calls"]] == ids
    assert [it["arguments"]["town"] for it in result["tool_calls"]] == ["Bern", "Chur"]
    assert result["stop"] == "tool_calls"


@pytest.mark.parametrize("model", ["parts", "numbered", "keep-alive", "no-done", "cut-whole"])
def test_other_forms_of_a_stream_are_read(llm_stand_in: LlmServer, model: str) -> None:
    """Content in parts; ids, names, comments and empty events between; no end behind the reason why it ended."""
    result = play(llm_stand_in, lambda it: ask(it, model), model)
    assert (result["text"], result["stop"]) == ("hi", "end")


# --- What goes wrong ----------------------------------------------------------------------------------------------

FAILURES: Mapping[str, tuple[str, bool, float | None]] = {
    "rate-limited": ("rate_limited", True, 7),
    "soon": ("rate_limited", True, 1.5),
    "broke": ("quota_exhausted", False, None),
    "broken": ("server_error", True, None),
    "html": ("server_error", True, None),
    "overloaded": ("server_error", True, 3),
    "unknown": ("refused", False, None),
    "locked": ("unauthorized", False, None),
    "elsewhere": ("refused", False, None),
    "packed": ("protocol_error", True, None),
    "huge": ("response_too_large", False, None),
    "rubbish": ("protocol_error", True, None),
    "deep": ("protocol_error", True, None),
    "unfinished": ("protocol_error", True, None),
    "cut": ("protocol_error", True, None),
    "fails": ("server_error", True, None),
    "endless": ("response_too_large", False, None),
    "line": ("response_too_large", False, None),
    **{f"odd-{number}": ("protocol_error", True, None) for number in range(len(ODD))},
}


@api
@pytest.mark.parametrize("model", FAILURES)
def test_what_goes_wrong_has_its_code(llm_stand_in: LlmServer, api: str, model: str) -> None:
    """Retryable where another attempt may succeed, after the time that the server asks for; the next call works."""

    async def scenario(handler: Handler) -> HandlerError:
        error = await failure(handler, model)
        assert (await ask(handler, "echo", "still here"))["text"].strip() == "still here"
        return error

    error = play(llm_stand_in, scenario, model, "echo", api=api, answer_bytes_max=2_000)
    assert (error.code, error.retryable, error.retry_after_s) == FAILURES[model]
    assert error.code in LlmHandlerFactory.description.errors
    assert f"{model} of models" in str(error)


def test_a_date_to_come_back_at_is_read(llm_stand_in: LlmServer) -> None:
    """In seconds from now."""
    error = play(llm_stand_in, lambda it: failure(it, "dated"), "dated")
    assert error.retry_after_s > 86_400 * 365


@api
def test_silence_between_tokens_is_a_timeout(llm_stand_in: LlmServer, api: str) -> None:
    """What keeps the connection alive is no token; the first may take longer than the others."""

    async def scenario(handler: Handler) -> None:
        error = await failure(handler, "stalls")
        assert (error.code, error.retryable) == ("timeout", True)
        assert "0.2 s (token_timeout_s)" in str(error)
        error = await failure(handler, "slow")
        assert "0.4 s (first_token_timeout_s)" in str(error)
        error = await failure(handler, "slow", timeout_s=0.1)
        assert "not done within 0.1 s" in str(error)

    play(llm_stand_in, scenario, "stalls", "slow", api=api, token_timeout_s=0.2, first_token_timeout_s=0.4)


def test_only_listed_models_are_asked(llm_stand_in: LlmServer) -> None:
    """A node cannot choose a model that the host contract does not know the price of."""
    asked = len(llm_stand_in.asked)
    error = play(llm_stand_in, lambda it: failure(it, "other"), "echo")
    assert (error.code, error.retryable) == ("model_not_allowed", False)
    assert len(llm_stand_in.asked) == asked


@api
def test_nothing_of_one_command_comes_back_with_another(llm_stand_in: LlmServer, api: str) -> None:
    """No cookie is kept, nothing asks for a packed reply, and a connection is used again."""

    async def scenario(handler: Handler) -> None:
        for _ in range(3):
            await ask(handler, "echo")

    play(llm_stand_in, scenario, "echo", api=api)
    headers = llm_stand_in.headers[-1]
    assert "cookie" not in headers
    assert headers["accept-encoding"] == "identity"


@api
def test_the_environment_says_nothing(llm_stand_in: LlmServer, api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the vendors' libraries would take from it does not count, not even where no key is given."""
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "from-the-environment")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "from-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/from-the-environment")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1/from-the-environment")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    play(llm_stand_in, lambda it: ask(it, "echo"), "echo", api=api)
    assert SECRET in str(llm_stand_in.headers[-1])
    assert "from-the-environment" not in str(llm_stand_in.headers[-1])
    play(llm_stand_in, lambda it: ask(it, "echo"), "echo", api=api, api_key=None)
    headers = llm_stand_in.headers[-1]
    assert "from-the-environment" not in str(headers)
    assert not headers.keys() & {"authorization", "x-api-key"}


# --- Budgets ------------------------------------------------------------------------------------------------------


def test_a_budget_that_is_spent_ends_calls_until_its_window_ends(llm_stand_in: LlmServer) -> None:
    """For each node by itself; the error says when the window ends, and is not retried before."""

    async def scenario(handler: Handler) -> None:
        await ask(handler, "echo", node="a")
        error = await failure(handler, "echo", node="a")
        assert (error.code, error.retryable) == ("over_budget", False)
        assert 0 < error.details["window_ends_in_s"] <= 0.5
        await ask(handler, "echo", node="b")
        await asyncio.sleep(error.details["window_ends_in_s"] + 0.01)
        await ask(handler, "echo", node="a")

    play(llm_stand_in, scenario, "echo", node_budget={"tokens": 5, "window_s": 0.5})


@api
def test_what_broke_off_is_on_the_bill(llm_stand_in: LlmServer, api: str) -> None:
    """A model that has begun to speak has cost something, and the target's budget is everybody's."""

    async def scenario(handler: Handler) -> None:
        await failure(handler, "cut", "word " * 100, node="a")
        assert (await failure(handler, "echo", node="b")).code == "over_budget"

    # The words that came are a hundred tokens and more, for which the model takes 10 dollars a million.
    models = {"cut": {"output_usd_per_million": 10.0}, "echo": PRICE}
    play(llm_stand_in, scenario, api=api, models=models, budget={"usd": 1e-3})


@api
def test_calls_at_the_same_time_keep_within_a_budget(llm_stand_in: LlmServer, api: str) -> None:
    """Of fifty at once run as many as fit at their most, but one in any case; the others fail as if it were spent."""

    async def used_tokens(handler: Handler) -> list[int]:
        asked = len(llm_stand_in.asked)
        asking = (ask(handler, "echo", "hi", max_tokens=5, node=f"n{it}") for it in range(50))
        results = await asyncio.gather(*asking, return_exceptions=True)
        refused = [(it.code, it.retryable) for it in results if isinstance(it, HandlerError)]
        used = [it["usage"] for it in results if not isinstance(it, BaseException)]
        assert set(refused) == {("over_budget", False)}
        assert len(refused) + len(used) == 50
        assert len(used) == len(llm_stand_in.asked) - asked
        return [it["input_tokens"] + it["output_tokens"] for it in used]

    assert play(llm_stand_in, used_tokens, "echo", api=api, budget={"tokens": 10}) == [11]
    used = play(llm_stand_in, used_tokens, "echo", api=api, budget={"tokens": 200})
    assert len(used) > 1
    assert sum(used) <= 200


@api
def test_what_a_call_reserved_is_given_back_however_it_ends(llm_stand_in: LlmServer, api: str) -> None:
    """When it is cancelled, refused, late, or never gets through: the next call that may take the whole budget runs."""

    async def scenario(handler: Handler) -> None:
        cancelled = [asyncio.create_task(ask(handler, "slow", max_tokens=300)) for _ in range(3)]
        await asyncio.sleep(0.1)
        assert (await failure(handler, "echo", max_tokens=300)).code == "over_budget"
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)
        for model, code in (("locked", "unauthorized"), ("broken", "server_error"), ("slow", "timeout")):
            assert (await failure(handler, model, max_tokens=900, timeout_s=0.5)).code == code
        two = (ask(handler, "echo", max_tokens=450) for _ in range(2))
        assert [it["stop"] for it in await asyncio.gather(*two)] == ["end", "end"]

    play(llm_stand_in, scenario, "slow", "locked", "broken", "echo", api=api, budget={"tokens": 1000})


def test_embeddings_reserve_their_texts(llm_stand_in: LlmServer) -> None:
    """Of two whose texts do not fit into the budget together, one runs."""

    async def scenario(handler: Handler) -> None:
        request = {"model": "echo", "texts": ["word" * 60]}
        results = await asyncio.gather(*(call(handler, "embed", request) for _ in range(2)), return_exceptions=True)
        assert [getattr(it, "code", None) for it in results] == [None, "over_budget"]
        await call(handler, "embed", request)

    play(llm_stand_in, scenario, "echo", budget={"tokens": 100})


def test_asking_again_stops_at_the_budget(llm_stand_in: LlmServer) -> None:
    """Every request counts, not every call."""
    error = play(
        llm_stand_in,
        lambda it: failure(it, "stubborn", output=SCHEMA, output_attempts=10),
        "stubborn",
        budget={"tokens": 20},
    )
    assert error.code == "over_budget"


def test_new_settings_leave_what_is_spent(llm_stand_in: LlmServer) -> None:
    """A handler that is opened again, as for a rotated key, goes on with the same account."""
    factory = LlmHandlerFactory()

    async def whole() -> None:
        async with opened(llm_stand_in.port, "echo", factory=factory, budget={"tokens": 5}) as handler:
            await ask(handler, "echo")
        async with opened(llm_stand_in.port, "echo", factory=factory, budget={"tokens": 5}) as handler:
            assert (await failure(handler, "echo")).code == "over_budget"

    asyncio.run(whole())


# --- The host contract --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"models": {}}, "at least 1"),
        ({"base_url": "ftp://x"}, "expected http"),
        ({"base_url": "http://user:pass@host/v1"}, "expected http"),
        ({"budget": {}}, "bounds usd, tokens, or both"),
        ({"budget": {"usd": 1}}, "has no price"),
        ({"special_tokens": ["a b"]}, "pattern"),
    ],
)
def test_a_target_that_is_none_is_told(written: Mapping[str, Any], told: str) -> None:
    """Before anything is opened, and without a word of what was written."""
    with pytest.raises(ValidationError, match=told) as caught:
        LlmTarget.model_validate({"api": "openai", "models": {"m": {}}, **written})
    assert "user:pass" not in str(caught.value)


def test_a_library_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """At check, with what to install."""
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ValidationError, match=r"pip install 'omnibase-infra\[llm\]'"):
        LlmTarget.model_validate({"api": "openai", "models": {"m": {}}})


def test_a_certificate_that_is_none_is_told(llm_stand_in: LlmServer) -> None:
    """At opening."""
    with pytest.raises(HandlerError, match="tls_ca_file '/nowhere' of the llm target 'models'"):
        play(llm_stand_in, lambda it: ask(it, "echo"), "echo", base_url="https://x/v1", tls_ca_file="/nowhere")


def test_hosts_without_models_do_not_wait_for_the_libraries() -> None:
    """They are imported by the first target that speaks their interface."""
    program = "import sys, omnibase_infra.host.plugins as w; w.catalog(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"openai", "anthropic", "httpx2"} & set(done.stdout.split())
