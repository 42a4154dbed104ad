"""What people look for in MLflow is found, and what they work out of it is what was sent.

Traces of a made-up assistant go through the bridge with `genai` and the standard tag schema; every search is compared
with what was sent.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field

import mlflow
import pandas as pd
import pytest

from spanbridge.processors.attributes import put
from spanbridge.processors.types import Trace
from tests.polling import until_sync
from tests.samples.mlflow_traces import add_span, new_trace, root_of
from tests.samples.sender import Sender
from tests.servers.program import Ports, Program, configuration

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),  # mlflow's use of SQLAlchemy
    pytest.mark.timeout(180),
]

MS = 1_000_000
EXPERIMENT = "search"
PROCESSORS = {
    "genai": {},
    "groupbytrace": {"wait_duration_after_root_received": "200ms"},
    "tag_schema": {"schema": "standard"},
}

OPERATIONS = {
    "LLM": {"gen_ai.operation.name": "text_completion"},
    "CHAIN": {"gen_ai.operation.name": "chain"},
    "EMBEDDING": {"gen_ai.operation.name": "embeddings"},
    "RERANKER": {"gen_ai.operation.name": "rerank"},
    "MEMORY": {"gen_ai.operation.name": "search_memory"},
    "WORKFLOW": {"gen_ai.operation.name": "invoke_workflow"},
    "TASK": {"gen_ai.operation.name": "execute_task"},
    "GUARDRAIL": {"openinference.span.kind": "GUARDRAIL"},
    "EVALUATOR": {"openinference.span.kind": "EVALUATOR"},
    "PARSER": {"mlflow.spanType": "PARSER"},
    "UNKNOWN": {"mlflow.spanType": "UNKNOWN"},
    "CLASSIFIER": {"mlflow.spanType": "CLASSIFIER"},
}
"""What a span says so that it is of a type; the other types are in every trace."""
EVERYWHERE = ["AGENT", "CHAT_MODEL"]

TAGS = {
    "required": ["user_id", "session_id", "environment"],
    "query": ["domains", "domain_count", "confidence"],
    "performance": ["is_multi_domain", "utility_tools_used"],
    "response": ["source_count", "response_length"],
    "error": ["has_error", "error_type"],
}
"""The standard schema."""


@dataclass
class Sent:
    """A trace and what MLflow should know of it; `spans` are (name, type, ms)."""

    name: str
    session: str | None
    user: str | None
    start_ms: int
    duration_ms: int
    usage: tuple[int, int]
    trace: Trace = field(default_factory=lambda: new_trace("assistant"), repr=False)
    state: str = "OK"
    tags: dict[str, str] = field(default_factory=dict)
    spans: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def id(self):
        return "tr-" + self.trace.trace_id.hex()

    @property
    def types(self):
        return {kind for _, kind, _ in self.spans}

    def add(self, name, kind, divisor, attributes):
        """A span that takes a share of the trace's time; the first is the root."""
        parent = root_of(self.trace).span_id if self.spans else b""
        took = self.duration_ms // divisor
        times = {"start_time_unix_nano": self.start_ms * MS, "end_time_unix_nano": (self.start_ms + took) * MS}
        self.spans.append((name, kind, took))
        return add_span(self.trace, name, parent, attributes=attributes, **times)


def make(number, base_ms):
    """The trace of a number; the divisors differ, so that no two properties go hand in hand."""
    sent = Sent(
        name=("plan trip", "answer question", "it's a report")[number % 3],
        session=None if number % 8 == 0 else f"session-{number % 4}",
        user=None if number == 13 else f"user-{number % 5}",
        start_ms=base_ms + number * 10_000,
        duration_ms=200 + number * number * 37 % 1900,
        usage=(10 + number, 3 * number + 1),
    )
    environment = ("production", "staging", None)[number // 3 % 3]
    if environment:
        put(sent.trace.batch.resource_spans[0].resource.attributes, "deployment.environment.name", environment)
    sent.tags = {"user_id": sent.user, "session_id": sent.session or "none", "environment": environment or "dev"}

    root = sent.add(sent.name, "AGENT", 1, said(sent, number))
    call = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini"}
    call |= {"gen_ai.usage.input_tokens": sent.usage[0], "gen_ai.usage.output_tokens": sent.usage[1]}
    sent.add("chat", "CHAT_MODEL", 2, call)
    retrieve(sent, number % 5)
    use_tools(sent, ((), ("search",), ("search", "calculator"), ("calculator",))[number % 4])
    other = list(OPERATIONS)[number % len(OPERATIONS)]
    last = sent.add(other.lower(), other, 10, OPERATIONS[other])
    settle(sent, number, root, last)
    sent.tags = {key: value for key, value in sent.tags.items() if value is not None}
    return sent


def said(sent, number):
    """The attributes of the root, and the tags that they lead to."""
    answer = "a" * (20 + number % 6)
    domains = [[], ["weather"], ["weather", "travel"]][number // 2 % 3]
    confidence = 0.5 + number / 100
    attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": answer}]}]),
        "confidence": confidence,
        **({"domains": domains} if domains else {}),
        **({"session.id": sent.session} if sent.session else {}),
        **({"user.id": sent.user} if sent.user else {}),
    }
    sent.tags |= {
        "domains": ",".join(domains) or None,
        "domain_count": str(len(domains)),
        "is_multi_domain": "true" if len(domains) > 1 else "false",
        "confidence": str(confidence),
        "response_length": str(len(answer)),
    }
    return attributes


def retrieve(sent, count):
    documents = json.dumps([{"id": str(number), "content": "text"} for number in range(count)])
    if count:
        attributes = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": documents}
        sent.add("retrieve", "RETRIEVER", 5, attributes)
    sent.tags["source_count"] = str(count)


def use_tools(sent, tools):
    for tool in tools:
        attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool}
        sent.add(f"execute_tool {tool}", "TOOL", 4, attributes)
    sent.tags["utility_tools_used"] = ",".join(tools) or None


def settle(sent, number, root, last):
    """Some traces fail; in some others a span fails that the root has got over; some say that all is well."""
    error = {0: "TimeoutError", 1: "ValueError"}.get(number % 7)
    if error:
        failing = root if number % 7 == 0 else last
        failing.status.code, failing.status.message = failing.status.STATUS_CODE_ERROR, f"{error}: no"
        event = failing.events.add(name="exception", time_unix_nano=failing.start_time_unix_nano)
        put(event.attributes, "exception.type", error)
        sent.state = "ERROR" if failing is root else "OK"
    elif number % 7 == 2:
        root.status.code = root.status.STATUS_CODE_OK
    sent.tags |= {"has_error": "true" if error else "false", "error_type": error}


@pytest.fixture(scope="module")
def sent():
    base = (time.time_ns() // MS) - 3_600_000
    return [make(number, base) for number in range(42)]


@pytest.fixture(scope="module", params=["tracking_server", "sqlite", "postgresql"])
def search(request, sent, tmp_path_factory):
    """MLflow's search over the traces, once the bridge has delivered them all."""
    uri = request.getfixturevalue(request.param)
    ports, folder = Ports(), tmp_path_factory.mktemp("search")
    config = configuration(ports, folder, {"tracking_uri": uri, "experiment": EXPERIMENT}, processors=PROCESSORS)
    with Program(config, folder, ports) as program:
        Sender(ports.grpc).send_all([one.trace.batch for one in sent])
        until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, what=f"delivery\n{program.tail()}")

    mlflow.set_tracking_uri(uri)
    experiment = mlflow.get_experiment_by_name(EXPERIMENT).experiment_id

    def search(query=None, *, return_type="list", include_spans=False):
        return mlflow.search_traces(
            locations=[experiment], filter_string=query, return_type=return_type, include_spans=include_spans
        )

    return search


def is_found(search, sent, query, wanted):
    """Whether a search finds the traces that it should, which are some and not all, and each once."""
    ids = {trace.id for trace in sent if wanted(trace)}
    assert 0 < len(ids) < len(sent), f"{query} tells nothing apart"
    found = [trace.info.trace_id for trace in search(query)]
    assert len(found) == len(set(found)), query
    assert set(found) == ids, query


def test_all_are_there(search, sent):
    assert sorted(trace.info.trace_id for trace in search()) == sorted(trace.id for trace in sent)


@pytest.mark.parametrize("environment", ["production", "staging", "dev"])
def test_by_environment(search, sent, environment):
    is_found(
        search, sent, f"tags.environment = '{environment}'", lambda trace: trace.tags["environment"] == environment
    )


@pytest.mark.parametrize("state", ["OK", "ERROR"])
def test_by_status(search, sent, state):
    is_found(search, sent, f"attributes.status = '{state}'", lambda trace: trace.state == state)


@pytest.mark.parametrize("key", ["timestamp", "timestamp_ms", "attributes.timestamp_ms"])
def test_by_time_window(search, sent, key):
    start, end = sent[10].start_ms, sent[30].start_ms
    is_found(search, sent, f"{key} >= {start} AND {key} < {end}", lambda trace: start <= trace.start_ms < end)


@pytest.mark.parametrize("kind", [*OPERATIONS, "TOOL", "RETRIEVER"])
def test_by_span_type(search, sent, kind):
    is_found(search, sent, f"span.type = '{kind}'", lambda trace: kind in trace.types)


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_by_span_type_that_every_trace_has(search, sent, kind):
    assert all(kind in trace.types for trace in sent)
    assert len(search(f"span.type = '{kind}'")) == len(sent)


def test_by_session(search, sent):
    for session in ("session-0", "session-1", "session-2", "session-3"):
        query = f"metadata.`mlflow.trace.session` = '{session}'"
        is_found(search, sent, query, lambda trace, session=session: trace.session == session)


def test_by_user(search, sent):
    for user in sorted({trace.user for trace in sent if trace.user}):
        query = f"metadata.`mlflow.trace.user` = '{user}'"
        is_found(search, sent, query, lambda trace, user=user: trace.user == user)


def test_by_trace_name(search, sent):
    for name, query in {
        "plan trip": "trace.name = 'plan trip'",
        "answer question": "attributes.name = 'answer question'",
        "it's a report": 'trace.name = "it\'s a report"',
    }.items():
        is_found(search, sent, query, lambda trace, name=name: trace.name == name)
    is_found(search, sent, "trace.name LIKE '%report'", lambda trace: trace.name.endswith("report"))


@pytest.mark.parametrize("tag", [tag for tags in TAGS.values() for tag in tags])
def test_by_every_standard_tag(search, sent, tag):
    for value in sorted({trace.tags[tag] for trace in sent if tag in trace.tags}):
        query = f"tags.{tag} = '{value}'"
        is_found(search, sent, query, lambda trace, value=value: trace.tags.get(tag) == value)
    if any(tag not in trace.tags for trace in sent):
        is_found(search, sent, f"tags.{tag} IS NULL", lambda trace: tag not in trace.tags)


def test_by_several_at_once(search, sent):
    query = "tags.environment = 'production' AND tags.has_error = 'true' AND span.type = 'TOOL'"
    tags = {"environment": "production", "has_error": "true"}
    is_found(search, sent, query, lambda trace: trace.tags.items() >= tags.items() and "TOOL" in trace.types)


def test_average_and_p95_latency(search, sent):
    found = search(return_type="pandas")["execution_duration"].astype(float)
    latencies = pd.Series([trace.duration_ms for trace in sent])
    assert found.mean() == pytest.approx(latencies.mean())
    assert found.quantile(0.95) == pytest.approx(latencies.quantile(0.95))


def test_token_totals(search, sent):
    usages = [trace.info.token_usage for trace in search()]
    total = [sum(usage[f"{side}_tokens"] for usage in usages) for side in ("input", "output", "total")]
    assert total[:2] == [sum(side) for side in zip(*(trace.usage for trace in sent), strict=True)]
    assert total[2] == sum(total[:2])


def test_error_patterns(search, sent):
    found = search("tags.has_error = 'true'")
    patterns = Counter((trace.info.state, trace.info.tags["error_type"]) for trace in found)
    assert patterns == Counter((t.state, t.tags["error_type"]) for t in sent if t.tags["has_error"] == "true")
    assert {error for _, error in patterns} == {"TimeoutError", "ValueError"}


def test_slowest_spans(search, sent):
    shown = [
        ((span.end_time_ns - span.start_time_ns) // MS, trace.info.trace_id, span.name, span.span_type)
        for trace in search(include_spans=True)
        for span in trace.data.spans
    ]
    wanted = [(took, trace.id, name, kind) for trace in sent for name, kind, took in trace.spans]
    assert sorted(shown, reverse=True)[:20] == sorted(wanted, reverse=True)[:20]
    by_type = Counter()
    for took, _, _, kind in shown:
        by_type[kind] += took
    assert by_type == sum((Counter({kind: took}) for took, _, _, kind in wanted), Counter())
