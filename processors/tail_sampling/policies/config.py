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


class LatencyConfig(ConfigModel):
    """Bounds on a trace's duration in ms; `upper_threshold_ms` 0 means none."""

    threshold_ms: Count = 0
    upper_threshold_ms: Count = 0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.upper_threshold_ms and self.upper_threshold_ms <= self.threshold_ms:
            raise ValueError("upper_threshold_ms must be above threshold_ms, or 0 for no upper bound")
        return self


class NumericAttributeConfig(ConfigModel):
    """An inclusive range for a numeric attribute of a resource or span."""

    key: Name
    min_value: Number | None = None
    max_value: Number | None = None
    invert_match: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_value is None and self.max_value is None:
            raise ValueError("give min_value, max_value or both")
        if self.min_value is not None and self.max_value is not None and self.min_value > self.max_value:
            raise ValueError("min_value is above max_value")
        return self


class ProbabilisticConfig(ConfigModel):
    """A share of the traces, by a hash of the trace id."""

    sampling_percentage: Percentage = 0.0
    hash_salt: str = ""


class StatusCodeConfig(ConfigModel):
    """Status codes of which some span must have one."""

    status_codes: list[Literal["OK", "ERROR", "UNSET"]] = Field(min_length=1)


class StringAttributeConfig(ConfigModel):
    """Values, or unanchored RE2 expressions, for a string attribute of a resource or span."""

    key: Name
    values: list[str] = Field(min_length=1)
    enabled_regex_matching: bool = False
    cache_max_size: Count = 0
    invert_match: bool = False

    @model_validator(mode="after")
    def _compilable(self) -> Self:
        if self.enabled_regex_matching:
            for value in self.values:
                compile_pattern(value)
        return self


class BooleanAttributeConfig(ConfigModel):
    """A value for a boolean attribute of a resource or span."""

    key: Name
    value: bool = False
    invert_match: bool = False


class RateLimitingConfig(ConfigModel):
    """A token bucket of spans; `burst_capacity` 0 means twice the rate."""

    spans_per_second: Count
    burst_capacity: Count = 0


class BytesLimitingConfig(ConfigModel):
    """A token bucket of protobuf bytes; `burst_capacity` 0 means twice the rate."""

    bytes_per_second: Count
    burst_capacity: Count = 0


class SpanCountConfig(ConfigModel):
    """An inclusive range for the number of spans; `max_spans` 0 means none."""

    min_spans: Count = 0
    max_spans: Count = 0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_spans and self.max_spans < self.min_spans:
            raise ValueError("max_spans is below min_spans; 0 means no upper bound")
        return self


class TraceStateConfig(ConfigModel):
    """Values of a member of the tracestate."""

    key: Name
    values: Names

    @field_validator("values")
    @classmethod
    def _short_enough(cls, values: list[str], info: Any) -> list[str]:
        if any(len(info.data.get("key", "")) + len(value) > _LONGEST_TRACE_STATE_PAIR for value in values):
            raise ValueError("key and value of a tracestate member have 255 characters together; no trace can match")
        return values


class OttlConditionConfig(ConfigModel):
    """OTTL conditions on spans and span events, of which any must hold."""

    error_mode: ErrorMode = "propagate"
    span: list[str] = Field(default_factory=list)
    spanevent: list[str] = Field(default_factory=list)

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
    """Least tokens of a whole trace; of several all must be reached."""

    min_total: Count | None = None
    min_input: Count | None = None
    min_output: Count | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.min_total is None and self.min_input is None and self.min_output is None:
            raise ValueError("give min_total, min_input or min_output")
        return self


class CostConfig(ConfigModel):
    """Least cost of a whole trace in US dollars."""

    min_usd: Amount


class SpanTypeConfig(ConfigModel):
    """MLflow span types, and how many spans of them a trace must have."""

    types: Names
    min_count: int = Field(default=1, ge=1)


class SessionConfig(ConfigModel):
    """A share of the sessions, each with all its traces; a trace without a session is one of its own."""

    sampling_percentage: Percentage
    hash_salt: str = ""


class ExperimentQuotaConfig(ConfigModel):
    """Traces a minute for each experiment.

    `key` names the attribute that tells experiments apart; empty: the experiment that the client named in its headers.
    """

    traces_per_minute: Count
    key: str = ""


class ErrorTypeConfig(ConfigModel):
    """Values of `error.type`, or of an exception event's `exception.type`."""

    values: Names


class ToolConfig(ConfigModel):
    """Names of tools, of which some span must have called one."""

    names: Names


class _PolicyConfig(ConfigModel):
    name: Name


class AlwaysSamplePolicyConfig(_PolicyConfig):
    """Samples every trace."""

    type: Literal["always_sample"]


class LatencyPolicyConfig(_PolicyConfig):
    """Samples traces by duration."""

    type: Literal["latency"]
    latency: LatencyConfig


class NumericAttributePolicyConfig(_PolicyConfig):
    """Samples traces by a number."""

    type: Literal["numeric_attribute"]
    numeric_attribute: NumericAttributeConfig


class ProbabilisticPolicyConfig(_PolicyConfig):
    """Samples a share of the traces."""

    type: Literal["probabilistic"]
    probabilistic: ProbabilisticConfig


class StatusCodePolicyConfig(_PolicyConfig):
    """Samples traces by status."""

    type: Literal["status_code"]
    status_code: StatusCodeConfig


class StringAttributePolicyConfig(_PolicyConfig):
    """Samples traces by a string."""

    type: Literal["string_attribute"]
    string_attribute: StringAttributeConfig


class BooleanAttributePolicyConfig(_PolicyConfig):
    """Samples traces by a boolean."""

    type: Literal["boolean_attribute"]
    boolean_attribute: BooleanAttributeConfig


class RateLimitingPolicyConfig(_PolicyConfig):
    """Samples traces while spans are within a rate."""

    type: Literal["rate_limiting"]
    rate_limiting: RateLimitingConfig


class BytesLimitingPolicyConfig(_PolicyConfig):
    """Samples traces while bytes are within a rate."""

    type: Literal["bytes_limiting"]
    bytes_limiting: BytesLimitingConfig


class SpanCountPolicyConfig(_PolicyConfig):
    """Samples traces by number of spans."""

    type: Literal["span_count"]
    span_count: SpanCountConfig


class TraceStatePolicyConfig(_PolicyConfig):
    """Samples traces by a member of the tracestate."""

    type: Literal["trace_state"]
    trace_state: TraceStateConfig


class TraceFlagsPolicyConfig(_PolicyConfig):
    """Samples traces of which some span has the W3C sampled flag."""

    type: Literal["trace_flags"]


class OttlConditionPolicyConfig(_PolicyConfig):
    """Samples traces by OTTL conditions."""

    type: Literal["ottl_condition"]
    ottl_condition: OttlConditionConfig


class TokenUsagePolicyConfig(_PolicyConfig):
    """Samples traces by tokens."""

    type: Literal["token_usage"]
    token_usage: TokenUsageConfig


class CostPolicyConfig(_PolicyConfig):
    """Samples traces by cost."""

    type: Literal["cost"]
    cost: CostConfig


class SpanTypePolicyConfig(_PolicyConfig):
    """Samples traces by the types of their spans."""

    type: Literal["span_type"]
    span_type: SpanTypeConfig


class SessionPolicyConfig(_PolicyConfig):
    """Samples a share of the sessions."""

    type: Literal["session"]
    session: SessionConfig


class ExperimentQuotaPolicyConfig(_PolicyConfig):
    """Samples traces while their experiment is within its quota."""

    type: Literal["experiment_quota"]
    experiment_quota: ExperimentQuotaConfig


class ErrorTypePolicyConfig(_PolicyConfig):
    """Samples traces by type of error."""

    type: Literal["error_type"]
    error_type: ErrorTypeConfig


class ToolPolicyConfig(_PolicyConfig):
    """Samples traces by tool."""

    type: Literal["tool"]
    tool: ToolConfig


class AndConfig(ConfigModel):
    """Policies that must all sample."""

    and_sub_policy: list[SubPolicyConfig] = Field(min_length=1)


class NotConfig(ConfigModel):
    """The policy that must not sample."""

    not_sub_policy: SubPolicyConfig


class DropConfig(ConfigModel):
    """Policies that drop a trace where all of them sample."""

    drop_sub_policy: list[SubPolicyConfig] = Field(min_length=1)


class RateAllocationConfig(ConfigModel):
    """The share of a composite's rate that a sub-policy gets; 0 means an equal share."""

    policy: Name
    percent: int = Field(default=0, ge=0, le=100)


class CompositeConfig(ConfigModel):
    """Sub-policies asked in order, each with its share of a rate of spans.

    Sub-policies that `policy_order` leaves out come last, those that `rate_allocation` leaves out get an equal share.
    """

    max_total_spans_per_second: int = Field(gt=0)
    policy_order: list[Name] = Field(default_factory=list)
    composite_sub_policy: list[SubPolicyConfig] = Field(min_length=1)
    rate_allocation: list[RateAllocationConfig] = Field(default_factory=list)

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
        """The sub-policies in the order in which they are asked."""
        order = {name: position for position, name in enumerate(self.policy_order)}
        return sorted(self.composite_sub_policy, key=lambda policy: order.get(policy.name, len(order)))

    def spans_per_second(self, name: str) -> int:
        """What a sub-policy may sample a second."""
        percent = next((allocation.percent for allocation in self.rate_allocation if allocation.policy == name), 0)
        share = percent / 100 if percent else 1 / len(self.composite_sub_policy)
        return int(share * self.max_total_spans_per_second)


class AndPolicyConfig(_PolicyConfig):
    """Samples what all its sub-policies sample."""

    type: Literal["and"]
    and_: AndConfig = Field(alias="and")


class NotPolicyConfig(_PolicyConfig):
    """Samples what its sub-policy does not sample."""

    type: Literal["not"]
    not_: NotConfig = Field(alias="not")


class DropPolicyConfig(_PolicyConfig):
    """Drops what all its sub-policies sample, whatever other policies say."""

    type: Literal["drop"]
    drop: DropConfig


class CompositePolicyConfig(_PolicyConfig):
    """Samples within a rate that its sub-policies share."""

    type: Literal["composite"]
    composite: CompositeConfig


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
    """An RE2 expression. Raises ValueError."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error:
        raise ValueError(f"{pattern!r} is not a regular expression of RE2") from None


def refuse_duplicates(names: list[str]) -> None:
    """Raises ValueError for a name that is there twice."""
    twice = next((name for position, name in enumerate(names) if name in names[:position]), None)
    if twice is not None:
        raise ValueError(f"the policy name {twice!r} is there twice; policies are told apart by name")


for _model in (AndConfig, NotConfig, DropConfig, CompositeConfig):
    _model.model_rebuild()
