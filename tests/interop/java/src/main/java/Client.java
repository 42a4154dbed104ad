import com.fasterxml.jackson.databind.ObjectMapper;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.api.trace.propagation.internal.W3CTraceContextEncoding;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.Scope;
import io.opentelemetry.context.propagation.TextMapGetter;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.autoconfigure.AutoConfiguredOpenTelemetrySdk;
import io.opentelemetry.sdk.testing.exporter.InMemorySpanExporter;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.SimpleSpanProcessor;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.SecureRandom;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * A program with the OpenTelemetry SDK. It makes spans of every kind, sends them, and prints what the SDK recorded, in
 * the form that tests/interop/recorded.py describes.
 *
 * <p>Where to and how is the standard environment: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL,
 * OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES.
 */
public final class Client {
  private static final Attributes ATTRIBUTES =
      Attributes.builder()
          .put("text", "plain")
          .put("text.empty", "")
          .put("text.long", "ten chars ".repeat(4000))
          .put("text.lines", "one\ntwo\ttab\\backslash \"quoted\" 'single'")
          .put("text.number", "42")
          .put("text.unicode", "Grüße, мир, 世界, שלום, e\u0301, 👩‍👩‍👧‍👦 🎉")
          .put("ключ", "a key in Cyrillic")
          .put("bool.true", true)
          .put("bool.false", false)
          .put("int", 42)
          .put("int.largest", Long.MAX_VALUE)
          .put("int.smallest", Long.MIN_VALUE)
          .put("double", 0.1)
          .put("double.whole", 3.0)
          .put("double.huge", Double.MAX_VALUE)
          .put("double.nan", Double.NaN)
          .put("double.infinity", Double.POSITIVE_INFINITY)
          .put("texts", "a", "", "ü")
          .put("bools", true, false)
          .put("ints", 1, -2, 1L << 62)
          .put("doubles", 0.5, 1e300, -0.25)
          .build();

  private final OpenTelemetrySdk sdk;
  private final Tracer shop;
  private final Tracer search;

  private Client(OpenTelemetrySdk sdk) {
    this.sdk = sdk;
    shop = sdk.getTracer("shop", "1.2.3");
    search = sdk.getTracer("search.client");
  }

  public static void main(String[] arguments) throws Exception {
    InMemorySpanExporter recorded = InMemorySpanExporter.create();
    try (OpenTelemetrySdk sdk =
        AutoConfiguredOpenTelemetrySdk.builder()
            .disableShutdownHook() // the block below closes it
            .addTracerProviderCustomizer(
                (provider, config) -> provider.addSpanProcessor(SimpleSpanProcessor.create(recorded)))
            .build()
            .getOpenTelemetrySdk()) {
      Client client = new Client(sdk);
      SpanContext earlier = client.refund();
      client.checkout(earlier);
      client.served();
      client.flush();
      Object spans = recorded.getFinishedSpanItems().stream().map(Client::asJson).toList();
      new PrintStream(System.out, true, StandardCharsets.UTF_8).println(new ObjectMapper().writeValueAsString(spans));
    }
  }

  private void flush() {
    if (!sdk.getSdkTracerProvider().forceFlush().join(30, TimeUnit.SECONDS).isSuccess()) {
      throw new IllegalStateException("the exporter has given up");
    }
  }

  /** A trace whose root fails; returns its context. */
  private SpanContext refund() {
    Span span = shop.spanBuilder("refund").setSpanKind(SpanKind.CONSUMER).startSpan();
    RuntimeException error = new IllegalArgumentException("no such order: 7 €");
    span.recordException(error);
    span.setStatus(StatusCode.ERROR, error.getMessage());
    span.end();
    return span.getSpanContext();
  }

  /** A trace of three levels and two scopes, sent in several requests; one span ends after the root. */
  private void checkout(SpanContext earlier) {
    Span root = shop.spanBuilder("checkout").setSpanKind(SpanKind.SERVER).startSpan();
    Span after;
    try (Scope inRoot = root.makeCurrent()) {
      Span plan = shop.spanBuilder("plan").setAllAttributes(ATTRIBUTES).startSpan();
      try (Scope inPlan = plan.makeCurrent()) {
        Span found = search.spanBuilder("search").setSpanKind(SpanKind.CLIENT).startSpan();
        found.addEvent("empty");
        found.addEvent("chosen", ATTRIBUTES, System.currentTimeMillis() * 1_000_000 + 1, TimeUnit.NANOSECONDS);
        found.end();
      }
      plan.setStatus(StatusCode.OK);
      plan.end();
      flush();
      charge();
      Attributes reason = Attributes.builder().put("reason", "retry").put("count", 3).put("tags", "a", "b").build();
      shop.spanBuilder("notify")
          .setSpanKind(SpanKind.PRODUCER)
          .addLink(earlier, reason)
          .addLink(plan.getSpanContext())
          .startSpan()
          .end();
      long start = System.currentTimeMillis() * 1_000_000 + 1;
      Span exact = shop.spanBuilder("exact").setStartTimestamp(start, TimeUnit.NANOSECONDS).startSpan();
      exact.end(start + 2_345_678, TimeUnit.NANOSECONDS);
      after = shop.spanBuilder("after the root").startSpan();
    }
    root.setStatus(StatusCode.OK);
    root.end();
    after.end();
  }

  /** A span with an error that its parent handles, with the stack trace of an exception and of its cause. */
  private void charge() {
    Span span = shop.spanBuilder("charge").startSpan();
    Exception error = new IllegalStateException("card declined: 💳", new ArithmeticException("/ by zero"));
    span.recordException(error, Attributes.builder().put("attempt", 2).build());
    span.setStatus(StatusCode.ERROR, "declined");
    span.end();
  }

  /** The part of a trace whose root is in a program that sends nothing here. */
  private void served() {
    byte[] ids = new byte[24];
    new SecureRandom().nextBytes(ids);
    String parent = HexFormat.of().formatHex(ids, 0, 16) + "-" + HexFormat.of().formatHex(ids, 16, 24);
    Map<String, String> headers = Map.of("traceparent", "00-" + parent + "-01", "tracestate", "vendor=1,other=x");
    Context caller = W3CTraceContextPropagator.getInstance().extract(Context.root(), headers, new Headers());
    Span span = shop.spanBuilder("served").setSpanKind(SpanKind.SERVER).setParent(caller).startSpan();
    shop.spanBuilder("inner").setParent(caller.with(span)).startSpan().end();
    span.end();
  }

  private static final class Headers implements TextMapGetter<Map<String, String>> {
    @Override
    public Iterable<String> keys(Map<String, String> headers) {
      return headers.keySet();
    }

    @Override
    public String get(Map<String, String> headers, String key) {
      return headers.get(key);
    }
  }

  private static Map<String, Object> asJson(SpanData span) {
    Map<String, Object> result = new LinkedHashMap<>();
    result.put("trace_id", span.getTraceId());
    result.put("span_id", span.getSpanId());
    result.put("parent_id", span.getParentSpanContext().isValid() ? span.getParentSpanId() : null);
    result.put("name", span.getName());
    result.put("kind", span.getKind().name());
    result.put("start", Long.toString(span.getStartEpochNanos()));
    result.put("end", Long.toString(span.getEndEpochNanos()));
    result.put("status", span.getStatus().getStatusCode().name());
    result.put("message", span.getStatus().getDescription());
    result.put("trace_state", W3CTraceContextEncoding.encodeTraceState(span.getSpanContext().getTraceState()));
    String version = span.getInstrumentationScopeInfo().getVersion();
    result.put("scope", new String[] {span.getInstrumentationScopeInfo().getName(), version == null ? "" : version});
    result.put("attributes", values(span.getAttributes()));
    result.put(
        "events",
        span.getEvents().stream()
            .map(
                event ->
                    Map.of(
                        "name", event.getName(),
                        "time", Long.toString(event.getEpochNanos()),
                        "attributes", values(event.getAttributes())))
            .toList());
    result.put(
        "links",
        span.getLinks().stream()
            .map(
                link ->
                    Map.of(
                        "trace_id", link.getSpanContext().getTraceId(),
                        "span_id", link.getSpanContext().getSpanId(),
                        "attributes", values(link.getAttributes())))
            .toList());
    return result;
  }

  /** Values as OTLP/JSON spells them; Jackson writes NaN and infinities as words. */
  private static Map<String, Object> values(Attributes attributes) {
    Map<String, Object> result = new LinkedHashMap<>();
    attributes.forEach((key, value) -> result.put(key.getKey(), value));
    return result;
  }
}
