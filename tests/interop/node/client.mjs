// A program with the OpenTelemetry SDK. It makes spans of every kind, sends them as OTLP/JSON over HTTP, and prints
// what the SDK recorded, in the form that tests/interop/recorded.py describes.
// Where to is the standard environment: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES.

import { randomBytes } from 'node:crypto';
import { context, diag, DiagConsoleLogger, DiagLogLevel, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { defaultResource, detectResources, envDetector } from '@opentelemetry/resources';
import { BatchSpanProcessor, InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';

const ATTRIBUTES = {
  text: 'plain',
  'text.empty': '',
  'text.long': 'ten chars '.repeat(4000),
  'text.lines': 'one\ntwo\ttab\\backslash "quoted" \'single\'',
  'text.number': '42',
  'text.true': 'true',
  'text.unicode': 'Grüße, мир, 世界, שלום, e\u0301, 👩‍👩‍👧‍👦 🎉',
  ключ: 'a key in Cyrillic',
  'bool.true': true,
  'bool.false': false,
  int: 42,
  'int.zero': 0,
  'int.largest': Number.MAX_SAFE_INTEGER,
  'int.smallest': Number.MIN_SAFE_INTEGER,
  double: 0.1,
  'double.tiny': 5e-324,
  'double.huge': Number.MAX_VALUE, // which the SDK writes as an integer
  'double.nan': NaN, // which JSON can't write
  texts: ['a', '', 'ü'],
  bools: [true, false],
  ints: [1, -2, 2 ** 50],
  doubles: [0.5, 1e-300, -0.25],
  'with nothing': ['a', null, 'b'],
  empty: [],
};

diag.setLogger(new DiagConsoleLogger(), DiagLogLevel.ERROR);
const recorded = new InMemorySpanExporter();
const provider = new NodeTracerProvider({
  resource: defaultResource().merge(detectResources({ detectors: [envDetector] })),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter()), new SimpleSpanProcessor(recorded)],
});
provider.register();
const shop = trace.getTracer('shop', '1.2.3');
const search = trace.getTracer('search.client');

const earlier = refund();
await checkout(earlier);
served();
await provider.forceFlush();
process.stdout.write(JSON.stringify(recorded.getFinishedSpans().map(asJson)));
await provider.shutdown();

// A trace whose root fails; returns its context.
function refund() {
  return shop.startActiveSpan('refund', { kind: SpanKind.CONSUMER }, (span) => {
    const error = new RangeError('no such order: 7 €');
    span.recordException(error);
    span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
    span.end();
    return span.spanContext();
  });
}

// A trace of three levels and two scopes, sent in several requests; one span ends after the root.
async function checkout(earlier) {
  await shop.startActiveSpan('checkout', { kind: SpanKind.SERVER }, async (root) => {
    const plan = await shop.startActiveSpan('plan', { attributes: ATTRIBUTES }, async (plan) => {
      search.startActiveSpan('search', { kind: SpanKind.CLIENT }, (found) => {
        found.addEvent('empty');
        found.addEvent('chosen', ATTRIBUTES, Date.now());
        found.end();
      });
      await Promise.resolve(); // the context has to survive this
      plan.setStatus({ code: SpanStatusCode.OK });
      plan.end();
      return plan;
    });
    await provider.forceFlush();
    charge();
    const links = [
      { context: earlier, attributes: { reason: 'retry', count: 3, tags: ['a', 'b'] } },
      { context: plan.spanContext() },
    ];
    shop.startSpan('notify', { kind: SpanKind.PRODUCER, links }).end();
    const after = shop.startSpan('after the root');
    const [seconds] = root.startTime;
    shop.startSpan('exact', { startTime: [seconds, 1] }).end([seconds, 2_345_679]);
    root.setStatus({ code: SpanStatusCode.OK });
    root.end();
    after.end();
  });
}

// A span with an error that its parent handles, with the stack trace of an exception.
function charge() {
  shop.startActiveSpan('charge', (span) => {
    try {
      undefined.card;
    } catch (error) {
      span.recordException(error);
      span.setStatus({ code: SpanStatusCode.ERROR, message: 'declined: 💳' });
    }
    span.end();
  });
}

// The part of a trace whose root is in a program that sends nothing here.
function served() {
  const hex = (size) => randomBytes(size).toString('hex');
  const headers = { traceparent: `00-${hex(16)}-${hex(8)}-01`, tracestate: 'vendor=1,other=x' };
  const caller = propagation.extract(context.active(), headers);
  shop.startActiveSpan('served', { kind: SpanKind.SERVER }, caller, (span) => {
    shop.startActiveSpan('inner', (inner) => inner.end());
    span.end();
  });
}

function asJson(span) {
  return {
    trace_id: span.spanContext().traceId,
    span_id: span.spanContext().spanId,
    parent_id: span.parentSpanContext?.spanId ?? null,
    name: span.name,
    kind: SpanKind[span.kind],
    start: nanoseconds(span.startTime),
    end: nanoseconds(span.endTime),
    status: SpanStatusCode[span.status.code],
    message: span.status.message ?? '',
    trace_state: span.spanContext().traceState?.serialize() ?? '',
    scope: [span.instrumentationScope.name, span.instrumentationScope.version ?? ''],
    attributes: span.attributes,
    events: span.events.map(({ name, time, attributes }) => ({ name, time: nanoseconds(time), attributes: attributes ?? {} })),
    links: span.links.map(({ context, attributes }) => ({
      trace_id: context.traceId,
      span_id: context.spanId,
      attributes: attributes ?? {},
    })),
  };
}

function nanoseconds([seconds, rest]) {
  return String(BigInt(seconds) * 1_000_000_000n + BigInt(rest));
}
