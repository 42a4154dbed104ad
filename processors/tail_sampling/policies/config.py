"""The configuration of the policies of `tail_sampling`, one model a type, with the Collector's keys and defaults.

Source: contrib's processor/tailsamplingprocessor/config.go. The last seven types are ours, for GenAI traces.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

import re2
from pydantic import Field, field_validator, model_validator

from spanbridge.processors.ottl import Conditions, ErrorMode
from spanbridge.processors.settings import ConfigModel

Name: TypeAlias = Annotated[str, Field(min_length=1)]
Names: TypeAlias = Annotated[list[Name], Field(min_length=1)]
Count: TypeAlias = Annotated[int, Field(ge=0)]
Percentage: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Amount: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Number: TypeAlias = Annotated[int | float, Field(allow_inf_nan=False)]

_LONGEST_TRACE_STATE_PAIR = 255

_KEY = "The key of a resource or span attribute."
_INVERT = "Sample the traces that do not match; one that matches is then sampled by no other policy either."
_TYPE = "The type of policy."
_SECTION = "What the policy looks for."


class LatencyConfig(ConfigModel):
    """Bounds on a trace's duration, from its earliest start to its latest end."""

    threshold_ms: Count = Field(
        default=0, description="The least duration in ms; with an upper_threshold_ms a trace must last longer than it."
    )
    upper_threshold_ms: Count = Field(default=0, description="The greatest duration in ms. 0: no upper bound.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.upper_threshold_ms and self.upper_threshold_ms <= self.threshold_ms:
            raise ValueError("upper_threshold_ms must be above threshold_ms, or 0 for no upper bound")
        return self


class NumericAttributeConfig(ConfigModel):
    """An inclusive range for a numeric attribute of a resource or span."""

    key: Name = Field(description=_KEY)
    min_value: Number | None = Field(default=None, description="The least value. Default: none.")
    max_value: Number | None = Field(default=None, description="The greatest value. Default: none.")
    invert_match: bool = Field(default=False, description=_INVERT)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_value is None and self.max_value is None:
            raise ValueError("give min_value, max_value or both")
        if self.min_value is not None and self.max_value is not None and self.min_value > self.max_value:
            raise ValueError("min_value is above max_value")
        return self


class ProbabilisticConfig(ConfigModel):
    """A share of the traces, by a hash of the trace id."""

    sampling_percentage: Percentage = Field(default=0.0, description="The share of traces to sample in percent.")
    hash_salt: str = Field(
        default="",
        description="A text that is hashed with the trace id; samplers with the same one keep the same traces. "
        "Default: contrib's `default-hash-seed`.",
    )


class StatusCodeConfig(ConfigModel):
    """Status codes of which some span must have one."""

    status_codes: list[Literal["OK", "ERROR", "UNSET"]] = Field(
        min_length=1, description="The codes; a trace matches if a span of it has one of them."
    )


class StringAttributeConfig(ConfigModel):
    """Values, or unanchored RE2 expressions, for a string attribute of a resource or span."""

    key: Name = Field(description=_KEY)
    values: list[str] = Field(min_length=1, description="The values, or the expressions, of which one must match.")
    enabled_regex_matching: bool = Field(
        default=False, description="Read the values as RE2 expressions, which may match anywhere in the attribute."
    )
    cache_max_size: Count = Field(
        default=0, description="How many values are remembered with what the expressions found. 0: 128."
    )
    invert_match: bool = Field(default=False, description=_INVERT)

    @model_validator(mode="after")
    def _compilable(self) -> Self:
        if self.enabled_regex_matching:
            for value in self.values:
                compile_pattern(value)
        return self


class BooleanAttributeConfig(ConfigModel):
    """A value for a boolean attribute of a resource or span."""

    key: Name = Field(description=_KEY)
    value: bool = Field(default=False, description="The value that matches.")
    invert_match: bool = Field(default=False, description=_INVERT)


class RateLimitingConfig(ConfigModel):
    """A token bucket of spans."""

    spans_per_second: Count = Field(description="How many spans a second pass on average, in whole traces.")
    burst_capacity: Count = Field(
        default=0, description="Most spans that may pass at once; a larger trace never passes. 0: twice the rate."
    )


class BytesLimitingConfig(ConfigModel):
    """A token bucket of bytes."""

    bytes_per_second: Count = Field(description="How many bytes of protobuf a second pass on average, in whole traces.")
    burst_capacity: Count = Field(
        default=0, description="Most bytes that may pass at once; a larger trace never passes. 0: twice the rate."
    )


class SpanCountConfig(ConfigModel):
    """An inclusive range for the number of spans of a trace."""

    min_spans: Count = Field(default=0, description="The least number of spans.")
    max_spans: Count = Field(default=0, description="The greatest number of spans. 0: no upper bound.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_spans and self.max_spans < self.min_spans:
            raise ValueError("max_spans is below min_spans; 0 means no upper bound")
        return self


class TraceStateConfig(ConfigModel):
    """Values of a member of the W3C tracestate."""

    key: Name = Field(description="The key of the member.")
    values: Names = Field(description="The values; a trace matches if a span's member has one of them.")

    @field_validator("values")
    @classmethod
    def _short_enough(cls, values: list[str], info: Any) -> list[str]:
        if any(len(info.data.get("key", "")) + len(value) > _LONGEST_TRACE_STATE_PAIR for value in values):
            raise ValueError("key and value of a tracestate member have 255 characters together; no trace can match")
        return values


class OttlConditionConfig(ConfigModel):
    """OTTL conditions on spans and span events, of which any must hold."""

    error_mode: ErrorMode = Field(
        default="propagate",
        description="What an error in a condition does: `propagate` leaves the policy without an answer, `ignore` and "
        "`silent` go on with the next condition.",
    )
    span: list[str] = Field(default_factory=list, description="Conditions on spans, in OTTL.")
    spanevent: list[str] = Field(default_factory=list, description="Conditions on span events, in OTTL.")

    @field_validator("span")
    @classmethod
    def _span_compiles(cls, texts: list[str]) -> list[str]:
        Conditions(texts, "span")
        return texts

    @field_validator("spanevent")
    @classmethod
    def _event_compiles(cls, texts: list[str]) -> list[str]:
        Conditions(texts, "spanevent")
        return texts

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.span or self.spanevent):
            raise ValueError("give at least one condition, in span or spanevent")
        return self


class TokenUsageConfig(ConfigModel):
    """Least tokens of a whole trace, each model call counted once; of several all must be reached."""

    min_total: Count | None = Field(default=None, description="The least number of tokens in all. Default: any.")
    min_input: Count | None = Field(default=None, description="The least number of input tokens. Default: any.")
    min_output: Count | None = Field(default=None, description="The least number of output tokens. Default: any.")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.min_total is None and self.min_input is None and self.min_output is None:
            raise ValueError("give min_total, min_input or min_output")
        return self


class CostConfig(ConfigModel):
    """Least cost of a whole trace, each model call counted once."""

    min_usd: Amount = Field(description="The least cost in US dollars.")


class SpanTypeConfig(ConfigModel):
    """MLflow span types, and how many spans of them a trace must have."""

    types: Names = Field(description="MLflow span types, in upper or lower case, for example TOOL or CHAT_MODEL.")
    min_count: int = Field(default=1, ge=1, description="How many spans of these types a trace must have.")


class SessionConfig(ConfigModel):
    """A share of the sessions, each with all its traces; a trace without a session is one of its own."""

    sampling_percentage: Percentage = Field(description="The share of sessions to sample in percent.")
    hash_salt: str = Field(
        default="",
        description="A text that is hashed with the session id; samplers with the same one keep the same sessions.",
    )


class ExperimentQuotaConfig(ConfigModel):
    """Traces a minute for each experiment."""

    traces_per_minute: Count = Field(
        description="How many traces of each experiment pass in a minute; a minute's traces may come at once."
    )
    key: str = Field(
        default="",
        description="The key of the attribute that tells experiments apart. "
        "Default: the experiment that the client names in its headers.",
    )


class ErrorTypeConfig(ConfigModel):
    """Types of errors."""

    values: Names = Field(description="Values of a span's `error.type`, or of an exception event's `exception.type`.")


class ToolConfig(ConfigModel):
    """Tools that a trace called."""

    names: Names = Field(description="Names of tools; a trace matches if a span of it called one of them.")


class _PolicyConfig(ConfigModel):
    name: Name = Field(description="The policy's name, in metrics and in the tag sampling.policy.")


class AlwaysSamplePolicyConfig(_PolicyConfig):
    """Samples every trace."""

    type: Literal["always_sample"] = Field(description=_TYPE)


class LatencyPolicyConfig(_PolicyConfig):
    """Samples traces by duration."""

    type: Literal["latency"] = Field(description=_TYPE)
    latency: LatencyConfig = Field(description=_SECTION)


class NumericAttributePolicyConfig(_PolicyConfig):
    """Samples traces by a number."""

    type: Literal["numeric_attribute"] = Field(description=_TYPE)
    numeric_attribute: NumericAttributeConfig = Field(description=_SECTION)


class ProbabilisticPolicyConfig(_PolicyConfig):
    """Samples a share of the traces."""

    type: Literal["probabilistic"] = Field(description=_TYPE)
    probabilistic: ProbabilisticConfig = Field(description=_SECTION)


class StatusCodePolicyConfig(_PolicyConfig):
    """Samples traces by status."""

    type: Literal["status_code"] = Field(description=_TYPE)
    status_code: StatusCodeConfig = Field(description=_SECTION)


class StringAttributePolicyConfig(_PolicyConfig):
    """Samples traces by a string."""

    type: Literal["string_attribute"] = Field(description=_TYPE)
    string_attribute: StringAttributeConfig = Field(description=_SECTION)


class BooleanAttributePolicyConfig(_PolicyConfig):
    """Samples traces by a boolean."""

    type: Literal["boolean_attribute"] = Field(description=_TYPE)
    boolean_attribute: BooleanAttributeConfig = Field(description=_SECTION)


class RateLimitingPolicyConfig(_PolicyConfig):
    """Samples traces while spans are within a rate."""

    type: Literal["rate_limiting"] = Field(description=_TYPE)
    rate_limiting: RateLimitingConfig = Field(description=_SECTION)


class BytesLimitingPolicyConfig(_PolicyConfig):
    """Samples traces while bytes are within a rate."""

    type: Literal["bytes_limiting"] = Field(description=_TYPE)
    bytes_limiting: BytesLimitingConfig = Field(description=_SECTION)


class SpanCountPolicyConfig(_PolicyConfig):
    """Samples traces by number of spans."""

    type: Literal["span_count"] = Field(description=_TYPE)
    span_count: SpanCountConfig = Field(description=_SECTION)


class TraceStatePolicyConfig(_PolicyConfig):
    """Samples traces by a member of the tracestate."""

    type: Literal["trace_state"] = Field(description=_TYPE)
    trace_state: TraceStateConfig = Field(description=_SECTION)


class TraceFlagsPolicyConfig(_PolicyConfig):
    """Samples traces of which some span has the W3C sampled flag."""

    type: Literal["trace_flags"] = Field(description=_TYPE)


class OttlConditionPolicyConfig(_PolicyConfig):
    """Samples traces by OTTL conditions."""

    type: Literal["ottl_condition"] = Field(description=_TYPE)
    ottl_condition: OttlConditionConfig = Field(description=_SECTION)


class TokenUsagePolicyConfig(_PolicyConfig):
    """Samples traces by tokens."""

    type: Literal["token_usage"] = Field(description=_TYPE)
    token_usage: TokenUsageConfig = Field(description=_SECTION)


class CostPolicyConfig(_PolicyConfig):
    """Samples traces by cost."""

    type: Literal["cost"] = Field(description=_TYPE)
    cost: CostConfig = Field(description=_SECTION)


class SpanTypePolicyConfig(_PolicyConfig):
    """Samples traces by the types of their spans."""

    type: Literal["span_type"] = Field(description=_TYPE)
    span_type: SpanTypeConfig = Field(description=_SECTION)


class SessionPolicyConfig(_PolicyConfig):
    """Samples a share of the sessions."""

    type: Literal["session"] = Field(description=_TYPE)
    session: SessionConfig = Field(description=_SECTION)


class ExperimentQuotaPolicyConfig(_PolicyConfig):
    """Samples traces while their experiment is within its quota."""

    type: Literal["experiment_quota"] = Field(description=_TYPE)
    experiment_quota: ExperimentQuotaConfig = Field(description=_SECTION)


class ErrorTypePolicyConfig(_PolicyConfig):
    """Samples traces by type of error."""

    type: Literal["error_type"] = Field(description=_TYPE)
    error_type: ErrorTypeConfig = Field(description=_SECTION)


class ToolPolicyConfig(_PolicyConfig):
    """Samples traces by tool."""

    type: Literal["tool"] = Field(description=_TYPE)
    tool: ToolConfig = Field(description=_SECTION)


class AndConfig(ConfigModel):
    """Policies that must all sample."""

    and_sub_policy: list[SubPolicyConfig] = Field(min_length=1, description="The policies; asked in order.")


class NotConfig(ConfigModel):
    """The policy that must not sample."""

    not_sub_policy: SubPolicyConfig = Field(description="The policy.")


class DropConfig(ConfigModel):
    """Policies that drop a trace where all of them sample."""

    drop_sub_policy: list[SubPolicyConfig] = Field(min_length=1, description="The policies; asked in order.")


class RateAllocationConfig(ConfigModel):
    """The share of a composite's rate that a sub-policy gets."""

    policy: Name = Field(description="The name of the sub-policy.")
    percent: int = Field(default=0, ge=0, le=100, description="Its share in percent. 0: an equal share.")


class CompositeConfig(ConfigModel):
    """Sub-policies asked in order, each with its share of a rate of spans."""

    max_total_spans_per_second: int = Field(gt=0, description="The rate of spans that the sub-policies share.")
    policy_order: list[Name] = Field(
        default_factory=list,
        description="Names of sub-policies in the order in which they are asked; those left out come last.",
    )
    composite_sub_policy: list[SubPolicyConfig] = Field(min_length=1, description="The sub-policies.")
    rate_allocation: list[RateAllocationConfig] = Field(
        default_factory=list, description="The shares of the rate; a sub-policy that is left out gets an equal one."
    )

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        names = [policy.name for policy in self.composite_sub_policy]
        refuse_duplicates(names)
        refuse_duplicates(self.policy_order)
        refuse_duplicates([allocation.policy for allocation in self.rate_allocation])
        for name in [*self.policy_order, *(allocation.policy for allocation in self.rate_allocation)]:
            if name not in names:
                raise ValueError(f"{name!r} is not a name of composite_sub_policy; known: {', '.join(names)}")
        return self

    def ordered(self) -> list[SubPolicyConfig]:
        """Return the sub-policies in the order in which they are asked."""
        order = {name: position for position, name in enumerate(self.policy_order)}
        return sorted(self.composite_sub_policy, key=lambda policy: order.get(policy.name, len(order)))

    def spans_per_second(self, name: str) -> int:
        """Return how many spans a second a sub-policy may sample."""
        percent = next((allocation.percent for allocation in self.rate_allocation if allocation.policy == name), 0)
        share = percent / 100 if percent else 1 / len(self.composite_sub_policy)
        return int(share * self.max_total_spans_per_second)


class AndPolicyConfig(_PolicyConfig):
    """Samples what all its sub-policies sample."""

    type: Literal["and"] = Field(description=_TYPE)
    and_: AndConfig = Field(alias="and", description="What the trace must be sampled by.")


class NotPolicyConfig(_PolicyConfig):
    """Samples what its sub-policy does not sample."""

    type: Literal["not"] = Field(description=_TYPE)
    not_: NotConfig = Field(alias="not", description="What the trace must not be sampled by.")


class DropPolicyConfig(_PolicyConfig):
    """Drops what all its sub-policies sample, whatever other policies say."""

    type: Literal["drop"] = Field(description=_TYPE)
    drop: DropConfig = Field(description="The policies that drop a trace together.")


class CompositePolicyConfig(_PolicyConfig):
    """Samples within a rate that its sub-policies share."""

    type: Literal["composite"] = Field(description=_TYPE)
    composite: CompositeConfig = Field(description="The sub-policies and the rate that they share.")


_Sub: TypeAlias = (
    AlwaysSamplePolicyConfig
    | LatencyPolicyConfig
    | NumericAttributePolicyConfig
    | ProbabilisticPolicyConfig
    | StatusCodePolicyConfig
    | StringAttributePolicyConfig
    | BooleanAttributePolicyConfig
    | RateLimitingPolicyConfig
    | BytesLimitingPolicyConfig
    | SpanCountPolicyConfig
    | TraceStatePolicyConfig
    | TraceFlagsPolicyConfig
    | OttlConditionPolicyConfig
    | TokenUsagePolicyConfig
    | CostPolicyConfig
    | SpanTypePolicyConfig
    | SessionPolicyConfig
    | ExperimentQuotaPolicyConfig
    | ErrorTypePolicyConfig
    | ToolPolicyConfig
    | AndPolicyConfig
    | NotPolicyConfig
)

SubPolicyConfig: TypeAlias = Annotated[_Sub, Field(discriminator="type")]
"""What may stand inside `and`, `not`, `drop` and `composite`."""

PolicyConfig: TypeAlias = Annotated[_Sub | DropPolicyConfig | CompositePolicyConfig, Field(discriminator="type")]
"""What may stand in `policies`."""


def compile_pattern(pattern: str) -> Any:
    """Return an RE2 expression compiled.

    Raises:
        ValueError: RE2 refuses the expression.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error:
        raise ValueError(f"{pattern!r} is not a regular expression of RE2") from None


def refuse_duplicates(names: list[str]) -> None:
    """Check that no name is there twice.

    Raises:
        ValueError: A name is.
    """
    twice = next((name for position, name in enumerate(names) if name in names[:position]), None)
    if twice is not None:
        raise ValueError(f"the policy name {twice!r} is there twice; policies are told apart by name")


for _model in (AndConfig, NotConfig, DropConfig, CompositeConfig):
    _model.model_rebuild()
