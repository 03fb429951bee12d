"""What a host's contract says of `llm`: which servers there are, what they may be asked, and what that may cost."""

import re
from importlib.util import find_spec
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

EXTRA = "omnibase-infra[llm]"
_BASE_URL = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?", re.ASCII)

Seconds = Annotated[float, Field(gt=0, le=3600)]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$")]
Api = Literal["openai", "anthropic"]


class LlmModel(BaseModel):
    """Frozen, strict; no message repeats a value, for it may be a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


def _checked_base_url(text: str) -> str:
    if _BASE_URL.fullmatch(text) is None:
        # The text is not repeated: a password could stand in it.
        raise ValueError("expected http(s)://host[:port][/path], without user, query or fragment")
    return text.rstrip("/")


def _installed(api: Api) -> Api:
    if find_spec(api) is None:
        raise ValueError(f"api {api} needs the package {api!r}, which is not installed: pip install '{EXTRA}'")
    return api


class LlmSettings(LlmModel):
    """There is nothing to set for all targets together."""


class Price(LlmModel):
    """What a model costs, in US dollars for a million tokens: `input_usd_per_million`, `output_usd_per_million`."""

    input_usd_per_million: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    output_usd_per_million: Annotated[float, Field(ge=0, le=1e6)] = 0.0

    @property
    def is_free(self) -> bool:
        """Whether nothing is charged."""
        return not (self.input_usd_per_million or self.output_usd_per_million)

    def cost_usd(self, *, input_tokens: int, output_tokens: int) -> float:
        """Return the cost of a call."""
        return (input_tokens * self.input_usd_per_million + output_tokens * self.output_usd_per_million) / 1e6


class SpendingLimit(LlmModel):
    """What may be spent in each window of `window_s` seconds, by this host: US dollars (`usd`), `tokens`, or both.

    A call reserves the most that it may cost, and gives back what it did not. Where that does not fit beside the calls
    under way, it fails with `over_budget`. A call that runs alone may take more than is left; once the budget is spent,
    calls fail until the window ends.
    """

    usd: Annotated[float, Field(gt=0)] | None = None
    tokens: Annotated[int, Field(gt=0)] | None = None
    window_s: Annotated[float, Field(gt=0, le=366 * 86_400)] = 86_400.0

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.usd is None and self.tokens is None:
            raise ValueError("a budget bounds usd, tokens, or both")
        return self


class LlmTarget(LlmModel):
    """One server of models that nodes may name as their `target`.

    - `api`: which interface it speaks. Many servers speak OpenAI's, llama.cpp, vLLM and Ollama among them.
    - `base_url`: where it is, up to and with the version (`.../v1`) for OpenAI's; by default the vendor's own.
    - `api_key`: best a secret. A server that needs none does without.
    - `models`: the models that nodes may ask for, each with its price; `{}` for one that costs nothing.
    - `budget`: what all nodes together may spend here; `node_budget`: what each of them may.
    - `schema_output`: whether the server itself takes a schema for its answer. Else it is told in words; the answer is
      checked either way.
    - `special_tokens`: marks by which this model's prompts are built, beside the known ones: no value can bring one in.
    - `connect_timeout_s`: how long a connection may take to come about; `first_token_timeout_s`: how long the server
      may think; `token_timeout_s`: the longest silence afterwards. A node's `delivery.timeout_s` bounds the whole call.
    - `answer_bytes_max`: the largest answer.
    - `tls_ca_file`: PEM file of the authorities to trust in place of the public ones. Certificates are always verified.
    """

    api: Annotated[Api, AfterValidator(_installed), Field(examples=["openai"])]
    base_url: Annotated[str, AfterValidator(_checked_base_url), Field(examples=["http://localhost:8080/v1"])] | None = (
        None
    )
    api_key: SecretStr | None = None
    models: Annotated[dict[ModelName, Price], Field(min_length=1, examples=[{"smollm2": {}}])]
    budget: SpendingLimit | None = None
    node_budget: SpendingLimit | None = None
    schema_output: bool = True
    special_tokens: list[Annotated[str, Field(pattern=r"^\S{2,100}$")]] = Field(default_factory=list)
    connect_timeout_s: Seconds = 5.0
    first_token_timeout_s: Seconds = 60.0
    token_timeout_s: Seconds = 30.0
    answer_bytes_max: Annotated[int, Field(ge=1, le=64 * 1024 * 1024)] = 1024 * 1024
    tls_ca_file: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _budget_has_prices(self) -> Self:
        budgets = [it for it in (self.budget, self.node_budget) if it is not None]
        free = [name for name, price in self.models.items() if price.is_free]
        if free and any(budget.tokens is None for budget in budgets):
            raise ValueError(f"a budget in usd alone does not bound {free[0]!r}, which has no price; bound tokens too")
        return self
