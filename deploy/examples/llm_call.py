"""One call of a language model: what it was asked, what it answered, and how many tokens that took."""

import json

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

provider = TracerProvider(resource=Resource.create({"service.name": "llm-call"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
tracer = provider.get_tracer("llm_call")


def ask(system: str, question: str) -> str:
    """Ask a model. The model is made up: put your client's call in its place."""
    request = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.temperature": 0.2,
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": system}]),
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": question}]}]),
    }
    with tracer.start_as_current_span("chat gpt-4o-mini", kind=SpanKind.CLIENT, attributes=request) as span:
        answer = "Paris."
        message = {"role": "assistant", "parts": [{"type": "text", "content": answer}], "finish_reason": "stop"}
        span.set_attributes(
            {
                "gen_ai.output.messages": json.dumps([message]),
                "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
                "gen_ai.usage.input_tokens": 24,
                "gen_ai.usage.output_tokens": 3,
                "gen_ai.usage.cache_read.input_tokens": 16,
            }
        )
        return answer


print(ask("Answer in one word.", "What is the capital of France?"))
provider.shutdown()  # sends what is still here
