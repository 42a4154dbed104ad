"""The trace stage: roll-ups, session and user, tags, metadata, log records, previews, late parts, originals."""

from __future__ import annotations

import json

import pytest

from spanbridge.processors.attributes import as_dict, assign
from spanbridge.processors.genai import GenAi, GenAiConfig, GenAiTrace
from spanbridge.processors.types import Batch, Logs, Trace, spans

TRACE_ID = b"\1" * 16
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}


def question(text):
    return json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])


def reply(text):
    return json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": text}], "finish_reason": "stop"}])


def calls(number):
    return {"gen_ai.usage.input_tokens": 42 * number, "gen_ai.usage.output_tokens": 7 * number}


def make(*tree, resource=None, late=False, logs=None):
    """A trace of `(name, parent's name, attributes)` in this order of start, as the assembly hands it on."""
    batch = Batch()
    resource_spans = batch.resource_spans.add()
    for key, value in (resource or {}).items():
        assign(resource_spans.resource.attributes.add(key=key).value, value)
    scope_spans = resource_spans.scope_spans.add()
    ids = {name: (number + 1).to_bytes(8) for number, (name, _, _) in enumerate(tree)}
    for number, (name, parent, attributes) in enumerate(tree):
        span = scope_spans.spans.add(name=name, trace_id=TRACE_ID, span_id=ids[name], start_time_unix_nano=number + 1)
        span.parent_span_id = ids.get(parent, parent.encode().ljust(8, b"\7")) if parent else b""
        for key, value in attributes.items():
            assign(span.attributes.add(key=key).value, value)
    return Trace(TRACE_ID, batch, late=late, logs=logs)


def run(trace, config=None):
    """Both stages; the trace and its spans' attributes by name."""
    config = GenAiConfig.model_validate(config or {})
    GenAi(config)(trace.batch)
    GenAiTrace(config)(trace)
    return trace, {span.name: as_dict(span.attributes) for span in spans(trace.batch)}


def tokens(attributes):
    return json.loads(attributes["mlflow.chat.tokenUsage"])


class TestRollups:
    def test_one_that_agrees_with_the_calls_stays(self):
        _, told = run(make(("agent", "", calls(2)), ("a", "agent", CHAT | calls(1)), ("b", "agent", CHAT | calls(1))))
        assert tokens(told["agent"])["input_tokens"] == 84

    def test_one_that_does_not_agree_is_hidden(self):
        """MLflow would count 42 instead of 84."""
        _, told = run(make(("agent", "", calls(1)), ("a", "agent", CHAT | calls(1)), ("b", "agent", CHAT | calls(1))))
        assert tokens(told["agent"]) is None
        assert tokens(told["a"])["input_tokens"] == 42

    def test_one_without_calls_below_is_the_only_source(self):
        _, told = run(make(("agent", "", calls(2)), ("tool", "agent", {"gen_ai.operation.name": "execute_tool"})))
        assert tokens(told["agent"])["input_tokens"] == 84

    def test_nested_ones_are_compared_from_the_bottom(self):
        tree = [
            ("root", "", calls(3)),
            ("agent", "root", calls(1)),
            ("step", "agent", {"gen_ai.operation.name": "plan"}),
        ]
        tree += [("a", "step", CHAT | calls(1)), ("b", "step", CHAT | calls(2))]
        _, told = run(make(*tree))
        assert tokens(told["agent"]) is None
        assert tokens(told["root"])["input_tokens"] == 126

    def test_calls_of_several_models_are_priced_by_themselves(self):
        """MLflow prices the topmost span that has usage, by its own model."""
        other = CHAT | {"gen_ai.request.model": "o3"}
        agent = calls(2) | {"gen_ai.request.model": "gpt-4o"}
        _, told = run(make(("agent", "", agent), ("a", "agent", CHAT | calls(1)), ("b", "agent", other | calls(1))))
        assert tokens(told["agent"]) is None

    def test_what_the_application_set_itself_stays(self):
        own = {"mlflow.chat.tokenUsage": '{"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}'}
        _, told = run(make(("agent", "", own), ("a", "agent", CHAT | calls(1))))
        assert tokens(told["agent"])["total_tokens"] == 2

    def test_ids_in_a_circle_do_no_harm(self):
        trace = make(("a", "b", CHAT | calls(1)), ("b", "a", CHAT | calls(1)))
        _, told = run(trace)
        assert tokens(told["a"])["input_tokens"] == tokens(told["b"])["input_tokens"] == 42


SESSIONS = [
    ({"mlflow.trace.session": "s"}, "s"),
    ({"langfuse.session.id": "s"}, "s"),
    ({"ai.telemetry.metadata.sessionId": "s"}, "s"),
    ({"langsmith.metadata.session_id": "s", "langsmith.metadata.thread_id": "t"}, "s"),
    ({"langsmith.metadata.thread_id": "t"}, "t"),
    ({"traceloop.association.properties.session_id": "s"}, "s"),
    ({"spring.ai.chat.client.conversation.id": "s"}, "s"),
    ({"gcp.vertex.agent.session_id": "s"}, "s"),
    ({"voltagent.conversation_id": "s"}, "s"),
    ({"conversation.id": "s"}, "s"),
    ({"thread.id": "s"}, "s"),
    ({"openinference.span.kind": "CHAIN", "metadata": '{"session_id": "s"}'}, "s"),
    ({"session.id": "", "conversation.id": "s"}, "s"),
    ({"session.id": "s" * 300, "x": 1}, "s" * 250),
]
USERS = [
    ({"mlflow.trace.user": "u"}, "u"),
    ({"langfuse.user.id": "u"}, "u"),
    ({"enduser.id": "u"}, "u"),
    ({"user.email": "u@x"}, "u@x"),
    ({"gen_ai.user": "u"}, "u"),
    ({"llm.user": "u"}, "u"),
    ({"ai.telemetry.metadata.userId": "u"}, "u"),
    ({"langsmith.metadata.user_id": "u"}, "u"),
    ({"traceloop.association.properties.user_id": "u"}, "u"),
    ({"metadata": '{"user_id": "u"}'}, "u"),
    ({"enduser.id": 7}, "7"),
]


class TestSessionAndUser:
    @pytest.mark.parametrize(("attributes", "session"), SESSIONS)
    def test_session_by_any_key_of_a_child(self, attributes, session):
        _, told = run(make(("root", "", {}), ("child", "root", attributes)))
        assert told["root"]["session.id"] == session

    @pytest.mark.parametrize(("attributes", "user"), USERS)
    def test_user_by_any_key_of_a_child(self, attributes, user):
        _, told = run(make(("root", "", {}), ("child", "root", attributes)))
        assert told["root"]["user.id"] == user

    def test_what_mlflow_finds_itself_is_left_to_it(self):
        _, told = run(make(("root", "", {}), ("child", "root", {"gen_ai.conversation.id": "c", "user.id": "u"})))
        assert told["root"] == {}

    def test_on_the_resource(self):
        _, told = run(make(("root", "", {}), resource={"session.id": "s", "user.id": "u"}))
        assert told["root"] == {"session.id": "s", "user.id": "u"}

    def test_the_better_key_wins_over_the_earlier_span(self):
        """MLflow would take the conversation of the child, which stands first in the batch."""
        trace = make(("root", "", {"session.id": "mine"}), ("child", "root", {"gen_ai.conversation.id": "theirs"}))
        children = trace.batch.resource_spans[0].scope_spans[0].spans
        children.sort(key=lambda span: -span.start_time_unix_nano)
        run(trace)
        assert next(spans(trace.batch)).name == "root"

    def test_a_thread_of_the_operating_system_is_no_session(self):
        _, told = run(make(("root", "", {"thread.id": 7, "thread.name": "main"})))
        assert "session.id" not in told["root"]

    def test_on_a_part_without_a_root(self):
        _, told = run(make(("child", "elsewhere", {"langfuse.session.id": "s"})))
        assert told["child"]["session.id"] == "s"


class TestTags:
    def test_by_the_conventions_key_without_its_prefix(self):
        trace, _ = run(make(("root", "", {"ai.operationId": "ai.generateText", "ai.telemetry.metadata.plan": "pro"})))
        assert trace.tags == {"plan": "pro"}

    def test_a_key_shown_as_session_needs_no_tag(self):
        metadata = {"ai.telemetry.metadata.sessionId": "s", "ai.telemetry.metadata.thread_id": "other"}
        trace, _ = run(make(("root", "", {"ai.operationId": "ai.generateText", **metadata})))
        assert trace.tags == {"thread_id": "other"}

    def test_metadata_that_frameworks_hand_down_counts_once(self):
        kind = {"openinference.span.kind": "CHAIN"}
        tree = [("root", "", kind | {"metadata": '{"team": "search", "langgraph_step": 1}'})]
        tree += [("child", "root", kind | {"metadata": '{"team": "other", "checkpoint": "x"}'})]
        trace, _ = run(make(*tree))
        assert trace.tags == {"team": "search"}

    def test_of_a_child_when_the_root_is_not_of_the_convention(self):
        trace, _ = run(
            make(("root", "", {}), ("child", "root", {"openinference.span.kind": "LLM", "tag.tags": ["a", "b"]}))
        )
        assert trace.tags == {"tags": '["a","b"]'}

    def test_a_tag_set_before_is_not_replaced(self):
        trace = make(("root", "", {"langfuse.trace.name": "named", "langfuse.environment": "prod"}))
        trace.tags["environment"] = "mine"
        run(trace)
        assert trace.tags == {"environment": "mine", "mlflow.traceName": "named"}

    def test_langfuses_environment_on_the_resource(self):
        trace, _ = run(make(("root", "", {}), resource={"langfuse.environment": "staging"}))
        assert trace.tags == {"environment": "staging"}

    def test_an_explicit_name_is_left_alone(self):
        own = {"mlflow.traceTag.mlflow.traceName": "mine", "langfuse.trace.name": "theirs"}
        trace, _ = run(make(("root", "", own)))
        assert trace.tags == {}

    def test_a_late_child_says_nothing_of_the_trace(self):
        child = ("child", "root", {"langfuse.trace.name": "late", "langfuse.environment": "late"})
        assert run(make(child, late=True))[0].tags == {}
        assert run(make(child))[0].tags == {"mlflow.traceName": "late", "environment": "late"}

    def test_a_late_root_does(self):
        trace, _ = run(make(("root", "", {"langfuse.trace.name": "late"}), late=True))
        assert trace.tags == {"mlflow.traceName": "late"}


def test_metadata_run_model_and_client_request_id():
    own = {"mlflow.traceMetadata.tenant": "acme", "mlflow.traceMetadata.n": 3, "mlflow.sourceRun": "r-1"}
    own |= {"mlflow.modelId": "m-1", "mlflow.clientRequestId": "req-1"}
    trace, _ = run(make(("root", "", {}), ("child", "root", own)))
    assert trace.metadata == {"tenant": "acme", "n": "3", "mlflow.sourceRun": "r-1", "mlflow.modelId": "m-1"}
    assert trace.client_request_id == "req-1"


class TestPreviews:
    def test_the_first_question_and_the_last_answer(self):
        tree = [
            ("root", "", {}),
            ("a", "root", CHAT | {"gen_ai.input.messages": question("Q1"), "gen_ai.output.messages": reply("A1")}),
        ]
        tree += [("b", "root", CHAT | {"gen_ai.input.messages": question("Q2"), "gen_ai.output.messages": reply("A2")})]
        tree += [("failed", "root", CHAT | {"gen_ai.input.messages": question("Q3")})]
        _, told = run(make(*tree))
        assert json.loads(told["root"]["mlflow.spanInputs"]) == {"messages": [{"role": "user", "content": "Q1"}]}
        assert json.loads(told["root"]["mlflow.spanOutputs"])["choices"][0]["message"]["content"] == "A2"

    def test_a_root_that_speaks_keeps_its_words(self):
        root = {"openinference.span.kind": "CHAIN", "input.value": "mine"}
        tree = [
            ("root", "", root),
            ("a", "root", CHAT | {"gen_ai.input.messages": question("Q"), "gen_ai.output.messages": reply("A")}),
        ]
        _, told = run(make(*tree))
        assert told["root"]["mlflow.spanInputs"] == "mine"
        assert "A" in told["root"]["mlflow.spanOutputs"]

    def test_an_agents_words_where_no_model_speaks(self):
        agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.input.messages": question("Q")}
        _, told = run(make(("root", "", {}), ("agent", "root", agent)))
        assert "Q" in told["root"]["mlflow.spanInputs"]

    def test_nobody_speaks(self):
        _, told = run(make(("root", "", {}), ("agent", "root", {"gen_ai.operation.name": "invoke_agent"})))
        assert told["root"] == {}


def record(logs, span_id, name, body=None, **attributes):
    added = (
        logs.resource_logs.add().scope_logs.add().log_records.add(trace_id=TRACE_ID, span_id=span_id, event_name=name)
    )
    if body is not None:
        assign(added.body, body)
    for key, value in attributes.items():
        assign(added.attributes.add(key=key.replace("__", ".")).value, value)


class TestLogs:
    def test_records_are_joined_to_their_span(self):
        logs = Logs()
        record(logs, (2).to_bytes(8), "gen_ai.user.message", {"content": "Q?"})
        record(logs, (2).to_bytes(8), "", '{"message": {"content": "A!"}}', event__name="gen_ai.choice")
        record(logs, (9).to_bytes(8), "gen_ai.user.message", {"content": "of a span that is not here"})
        _, told = run(make(("root", "", {}), ("chat", "root", CHAT), logs=logs))
        assert json.loads(told["chat"]["mlflow.spanInputs"]) == {"messages": [{"role": "user", "content": "Q?"}]}
        assert "A!" in told["chat"]["mlflow.spanOutputs"]
        assert "Q?" in told["root"]["mlflow.spanInputs"]

    def test_in_the_order_of_their_time(self):
        logs = Logs()
        record(logs, (1).to_bytes(8), "gen_ai.user.message", {"content": "second"})
        record(logs, (1).to_bytes(8), "gen_ai.system.message", {"content": "first"})
        for number, entry in enumerate(logs.resource_logs):
            entry.scope_logs[0].log_records[0].time_unix_nano = 10 - number
        _, told = run(make(("chat", "", CHAT), logs=logs))
        assert [message["content"] for message in json.loads(told["chat"]["mlflow.spanInputs"])["messages"]] == [
            "first",
            "second",
        ]

    def test_what_the_span_says_itself_wins(self):
        logs = Logs()
        record(logs, (1).to_bytes(8), "gen_ai.user.message", {"content": "log"})
        _, told = run(make(("chat", "", CHAT | {"gen_ai.input.messages": question("span")}), logs=logs))
        assert "span" in told["chat"]["mlflow.spanInputs"]

    def test_an_application_span_without_genai_keys(self):
        logs = Logs()
        record(logs, (1).to_bytes(8), "gen_ai.user.message", {"content": "Q?"})
        _, told = run(make(("handler", "", {"app": 1}), logs=logs))
        assert "Q?" in told["handler"]["mlflow.spanInputs"]

    def test_other_records_change_nothing(self):
        logs = Logs()
        record(logs, (1).to_bytes(8), "", "starting up")
        _, told = run(make(("chat", "", CHAT), logs=logs))
        assert "mlflow.spanInputs" not in told["chat"]


class TestSources:
    def test_originals_go_after_both_stages_have_read_them(self):
        attributes = CHAT | calls(1) | {"gen_ai.input.messages": question("Q"), "gen_ai.conversation.id": "c", "app": 1}
        _, told = run(make(("chat", "", attributes)), {"remove_originals": True})
        assert {key for key in told["chat"] if not key.startswith("mlflow.")} == {"gen_ai.conversation.id", "app"}
        assert tokens(told["chat"])["total_tokens"] == 49

    def test_only_those_of_the_source_that_says_so(self):
        sources = {"sources": {"openinference": {"remove_originals": True}, "otel": {}}}
        attributes = CHAT | {"input.value": "Q", "openinference.span.kind": "LLM"}
        _, told = run(make(("chat", "", attributes)), sources)
        assert {key for key in told["chat"] if not key.startswith("mlflow.")} == set(CHAT)

    def test_explicit_values_pass_through(self):
        _, told = run(make(("chat", "", CHAT | {"mlflow.spanType": "MEMORY", "mlflow.llm.model": "mine"})))
        assert told["chat"]["mlflow.spanType"] == "MEMORY"
        assert told["chat"]["mlflow.llm.model"] == "mine"

    def test_overwrite_replaces_them(self):
        _, told = run(make(("chat", "", CHAT | {"mlflow.spanType": "MEMORY"})), {"overwrite": True})
        assert told["chat"]["mlflow.spanType"] == "CHAT_MODEL"

    def test_custom_mappings_are_read_further(self):
        mappings = {
            "vendor.model": "gen_ai.request.model",
            "vendor.kind": "mlflow.spanType",
            "vendor.in": "gen_ai.usage.input_tokens",
        }
        config = {"sources": [{"name": "custom", "custom_mappings": mappings, "remove_originals": True}]}
        _, told = run(make(("call", "", {"vendor.model": "m", "vendor.kind": "CLASSIFIER", "vendor.in": 5})), config)
        assert told["call"]["mlflow.spanType"] == "CLASSIFIER"
        assert told["call"]["mlflow.llm.model"] == "m"
        assert tokens(told["call"])["total_tokens"] == 5
        assert not any(key.startswith("vendor.") for key in told["call"])

    def test_a_convention_that_is_off_is_not_read(self):
        _, told = run(make(("chat", "", CHAT)), {"sources": ["openinference"]})
        assert told["chat"] == CHAT


def test_an_empty_batch_stays_empty():
    assert run(Trace(TRACE_ID, Batch()))[1] == {}


def test_zeros_of_one_convention_do_not_hide_the_counts_of_another():
    attributes = {"openinference.span.kind": "LLM", "llm.token_count.prompt": 0, "llm.token_count.completion": 0}
    _, told = run(make(("chat", "", attributes | CHAT | calls(1))))
    assert tokens(told["chat"])["total_tokens"] == 49
