"""An agent at work: it sorts the question, remembers the user, looks something up and asks a model.

Session, user and a tag of one's own go on the first span. The type of a span follows from `gen_ai.operation.name`; a
type that OpenTelemetry has no name for, here CLASSIFIER, is set as `mlflow.spanType`.
"""

import json

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

resource = Resource.create({"service.name": "travel-guide", "deployment.environment.name": "demo"})
provider = TracerProvider(resource=resource)
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
tracer = provider.get_tracer("agent_task")


def guide(question: str) -> str:
    """The agent."""
    task = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "travel-guide",
        "gen_ai.input.messages": messages("user", question),
        "session.id": "tour-2026",
        "user.id": "ada",
        "mlflow.traceTag.topic": "museums",
    }
    with tracer.start_as_current_span("invoke_agent travel-guide", attributes=task) as span:
        classify(question)
        taste = remember("What does ada like?")
        answer = ask(f"{look_up(question)}\n{taste}\n{question}")
        span.set_attribute("gen_ai.output.messages", messages("assistant", answer))
        return answer


def classify(question: str) -> str:
    """Say what a question is about."""
    kind = {"mlflow.spanType": "CLASSIFIER", "mlflow.spanInputs": json.dumps({"question": question})}
    with tracer.start_as_current_span("classify", attributes=kind) as span:
        span.set_attribute("mlflow.spanOutputs", json.dumps({"label": "museums", "score": 0.93}))
        return "museums"


def remember(query: str) -> str:
    """Search what is known of the user."""
    search = {"gen_ai.operation.name": "search_memory", "gen_ai.memory.query.text": query}
    with tracer.start_as_current_span("search_memory", attributes=search) as span:
        records = [{"id": "m-1", "content": "Ada likes machines."}]
        span.set_attribute("gen_ai.memory.records", json.dumps(records))
        return records[0]["content"]


def look_up(query: str) -> str:
    """Retrieve documents."""
    search = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.query.text": query}
    with tracer.start_as_current_span("retrieval guidebook", attributes=search) as span:
        documents = [
            {"id": "p-12", "content": "The Science Museum shows a Difference Engine.", "score": 0.91},
            {"id": "p-40", "content": "The Tate Modern is free.", "score": 0.44},
        ]
        span.set_attribute("gen_ai.retrieval.documents", json.dumps(documents))
        return "\n".join(document["content"] for document in documents)


def ask(prompt: str) -> str:
    """Ask a model. The model is made up: put your client's call in its place."""
    request = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.input.messages": messages("user", prompt),
    }
    with tracer.start_as_current_span("chat gpt-4o-mini", kind=SpanKind.CLIENT, attributes=request) as span:
        answer = "Go to the Science Museum."
        span.set_attribute("gen_ai.output.messages", messages("assistant", answer))
        span.set_attribute("gen_ai.usage.input_tokens", 61)
        span.set_attribute("gen_ai.usage.output_tokens", 7)
        return answer


def messages(role: str, text: str) -> str:
    """A conversation of one message, as JSON."""
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


print(guide("Which museum in London should I see?"))
provider.shutdown()  # sends what is still here
