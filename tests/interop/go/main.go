// A program with the OpenTelemetry SDK. It makes spans of every kind, sends them, and prints what the SDK recorded, in
// the form that tests/interop/recorded.py describes.
//
// Where to and how is the standard environment: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL,
// OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES.
package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

var attributes = []attribute.KeyValue{
	attribute.String("text", "plain"),
	attribute.String("text.empty", ""),
	attribute.String("text.long", strings.Repeat("ten chars ", 4000)),
	attribute.String("text.lines", "one\ntwo\ttab\\backslash \"quoted\" 'single'"),
	attribute.String("text.number", "42"),
	attribute.String("text.unicode", "Grüße, мир, 世界, שלום, e\u0301, 👩‍👩‍👧‍👦 🎉"),
	attribute.String("ключ", "a key in Cyrillic"),
	attribute.Bool("bool.true", true),
	attribute.Bool("bool.false", false),
	attribute.Int("int", 42),
	attribute.Int64("int.largest", math.MaxInt64),
	attribute.Int64("int.smallest", math.MinInt64),
	attribute.Float64("double", 0.1),
	attribute.Float64("double.whole", 3),
	attribute.Float64("double.huge", math.MaxFloat64),
	attribute.Float64("double.nan", math.NaN()),
	attribute.Float64("double.negative_infinity", math.Inf(-1)),
	attribute.ByteSlice("bytes", []byte{0, 1, 0xfe, 0xff}),
	attribute.StringSlice("texts", []string{"a", "", "ü"}),
	attribute.BoolSlice("bools", []bool{true, false}),
	attribute.Int64Slice("ints", []int64{1, -2, 1 << 62}),
	attribute.Float64Slice("doubles", []float64{0.5, 1e300, -0.25}),
	attribute.StringSlice("empty", []string{}),
	attribute.Slice("mixed", attribute.StringValue("a"), attribute.IntValue(1), attribute.BoolValue(false)),
	attribute.Map("map", attribute.String("name", "Ada"), attribute.Map("nested", attribute.Int("n", 1))),
}

func main() {
	ctx := context.Background()
	recorded := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithBatcher(must(exporter(ctx))), sdk.WithSyncer(recorded))
	failed := false
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { failed = true; log.Print(err) }))
	shop := provider.Tracer("shop", trace.WithInstrumentationVersion("1.2.3"))
	search := provider.Tracer("search.client")

	earlier := refund(ctx, shop)
	checkout(ctx, provider, shop, search, earlier)
	served(ctx, shop)

	if err := provider.ForceFlush(ctx); err != nil || failed {
		log.Fatal("the exporter has given up: ", err)
	}
	spans := []any{}
	for _, span := range recorded.GetSpans() {
		spans = append(spans, asJSON(span))
	}
	os.Stdout.Write(must(json.Marshal(spans)))
}

func exporter(ctx context.Context) (*otlptrace.Exporter, error) {
	if os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc" {
		return otlptracegrpc.New(ctx)
	}
	return otlptracehttp.New(ctx)
}

// A trace whose root fails; returns its context.
func refund(ctx context.Context, tracer trace.Tracer) trace.SpanContext {
	_, span := tracer.Start(ctx, "refund", trace.WithSpanKind(trace.SpanKindConsumer))
	defer span.End()
	err := errors.New("no such order: 7 €")
	span.RecordError(err, trace.WithStackTrace(true))
	span.SetStatus(codes.Error, err.Error())
	return span.SpanContext()
}

// A trace of three levels and two scopes, sent in several requests; one span ends after the root.
func checkout(ctx context.Context, provider *sdk.TracerProvider, shop, search trace.Tracer, earlier trace.SpanContext) {
	ctx, root := shop.Start(ctx, "checkout", trace.WithSpanKind(trace.SpanKindServer))
	inPlan, plan := shop.Start(ctx, "plan", trace.WithAttributes(attributes...))
	_, found := search.Start(inPlan, "search", trace.WithSpanKind(trace.SpanKindClient))
	found.AddEvent("empty")
	found.AddEvent("chosen", trace.WithAttributes(attributes...), trace.WithTimestamp(time.Now().Add(-time.Nanosecond)))
	found.End()
	plan.SetStatus(codes.Ok, "")
	plan.End()
	must(0, provider.ForceFlush(ctx))

	_, charge := shop.Start(ctx, "charge")
	err := fmt.Errorf("card declined: 💳: %w", os.ErrPermission)
	charge.RecordError(err, trace.WithStackTrace(true), trace.WithAttributes(attribute.Int("attempt", 2)))
	charge.SetStatus(codes.Error, "declined")
	charge.End()

	reasons := []attribute.KeyValue{attribute.String("reason", "retry"), attribute.Int("count", 3)}
	links := trace.WithLinks(trace.Link{SpanContext: earlier, Attributes: reasons}, trace.Link{SpanContext: plan.SpanContext()})
	_, notify := shop.Start(ctx, "notify", trace.WithSpanKind(trace.SpanKindProducer), links)
	notify.End()

	start := time.Now().Truncate(time.Millisecond).Add(time.Nanosecond)
	_, exact := shop.Start(ctx, "exact", trace.WithTimestamp(start))
	exact.End(trace.WithTimestamp(start.Add(2_345_678)))

	_, after := shop.Start(ctx, "after the root")
	root.SetStatus(codes.Ok, "")
	root.End()
	after.End()
}

// The part of a trace whose root is in a program that sends nothing here.
func served(ctx context.Context, tracer trace.Tracer) {
	ids := make([]byte, 24)
	must(rand.Read(ids))
	headers := propagation.MapCarrier{
		"traceparent": fmt.Sprintf("00-%x-%x-01", ids[:16], ids[16:]),
		"tracestate":  "vendor=1,other=x",
	}
	ctx, span := tracer.Start(
		propagation.TraceContext{}.Extract(ctx, headers), "served", trace.WithSpanKind(trace.SpanKindServer))
	_, inner := tracer.Start(ctx, "inner")
	inner.End()
	span.End()
}

type object map[string]any

func asJSON(span tracetest.SpanStub) object {
	events, links := []object{}, []object{}
	for _, event := range span.Events {
		events = append(events, object{"name": event.Name, "time": nanoseconds(event.Time), "attributes": values(event.Attributes)})
	}
	for _, link := range span.Links {
		links = append(links, object{
			"trace_id": link.SpanContext.TraceID().String(), "span_id": link.SpanContext.SpanID().String(),
			"attributes": values(link.Attributes),
		})
	}
	result := object{
		"trace_id": span.SpanContext.TraceID().String(), "span_id": span.SpanContext.SpanID().String(), "parent_id": nil,
		"name": span.Name, "kind": strings.ToUpper(span.SpanKind.String()),
		"start": nanoseconds(span.StartTime), "end": nanoseconds(span.EndTime),
		"status": strings.ToUpper(span.Status.Code.String()), "message": span.Status.Description,
		"trace_state": span.SpanContext.TraceState().String(),
		"scope":       []string{span.InstrumentationScope.Name, span.InstrumentationScope.Version},
		"attributes":  values(span.Attributes), "events": events, "links": links,
	}
	if span.Parent.HasSpanID() {
		result["parent_id"] = span.Parent.SpanID().String()
	}
	return result
}

func nanoseconds(moment time.Time) string {
	return strconv.FormatInt(moment.UnixNano(), 10)
}

func values(attributes []attribute.KeyValue) object {
	result := object{}
	for _, each := range attributes {
		result[string(each.Key)] = value(each.Value)
	}
	return result
}

// A value as OTLP/JSON spells it.
func value(v attribute.Value) any {
	switch v.Type() {
	case attribute.FLOAT64:
		return number(v.AsFloat64())
	case attribute.FLOAT64SLICE:
		numbers := []any{}
		for _, item := range v.AsFloat64Slice() {
			numbers = append(numbers, number(item))
		}
		return numbers
	case attribute.BYTESLICE:
		return base64.StdEncoding.EncodeToString(v.AsByteSlice())
	case attribute.SLICE:
		items := []any{}
		for _, item := range v.AsSlice() {
			items = append(items, value(item))
		}
		return items
	case attribute.MAP:
		return values(v.AsMap())
	}
	return v.AsInterface()
}

func number(n float64) any {
	switch {
	case math.IsNaN(n):
		return "NaN"
	case math.IsInf(n, 1):
		return "Infinity"
	case math.IsInf(n, -1):
		return "-Infinity"
	}
	text := strconv.FormatFloat(n, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0" // still a double for who reads it
	}
	return json.RawMessage(text)
}

func must[T any](result T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return result
}
