{{/* What the chart reads in `config`. Values of any type are handed on in JSON. */}}

{{/* What is at a path, as {"value": …}; null where there is nothing: (list map "key" "key"). */}}
{{- define "spanbridge.at" -}}
{{- $found := first . -}}
{{- range rest . -}}
{{- $found = ternary (get (ternary $found dict (kindIs "map" $found)) .) nil (and (kindIs "map" $found) (hasKey (ternary $found dict (kindIs "map" $found)) .)) -}}
{{- end -}}
{{- dict "value" $found | toJson -}}
{{- end -}}

{{/* The port of an endpoint, empty where it has none: (list endpoint default). */}}
{{- define "spanbridge.portOf" -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" (toString (default (last .) (first .)))) -}}
{{- end -}}

{{- define "spanbridge.healthEndpoint" -}}
{{- $health := get (.Values.config.extensions | default dict) "health_check" | default dict -}}
{{- $second := (include "spanbridge.at" (list $health "http" "endpoint") | fromJson).value -}}
{{- default "localhost:13133" (ternary $second $health.endpoint (eq (toString $health.use_v2) "true")) -}}
{{- end -}}

{{- define "spanbridge.healthPort" -}}
{{- include "spanbridge.portOf" (list (include "spanbridge.healthEndpoint" .) "") -}}
{{- end -}}

{{/* Where the metrics are, as {"host": …, "port": …}; {} where there are none. */}}
{{- define "spanbridge.metrics" -}}
{{- $metrics := (include "spanbridge.at" (list .Values.config "service" "telemetry" "metrics") | fromJson).value | default dict -}}
{{- $reader := dict -}}
{{- if $metrics.readers -}}
{{- $reader = (include "spanbridge.at" (list (first $metrics.readers) "pull" "exporter" "prometheus") | fromJson).value | default dict -}}
{{- end -}}
{{- if eq (lower (toString $metrics.level)) "none" -}}
{}
{{- else if $metrics.address -}}
{{- $port := include "spanbridge.portOf" (list $metrics.address "") -}}
{{- dict "host" (trimSuffix (print ":" $port) $metrics.address) "port" $port | toJson -}}
{{- else -}}
{{- dict "host" (ternary $reader.host "localhost" (hasKey $reader "host")) "port" (default 8888 $reader.port | toString) | toJson -}}
{{- end -}}
{{- end -}}

{{/* The ports of receivers.otlp by name, as JSON. */}}
{{- define "spanbridge.otlpPorts" -}}
{{- $protocols := (include "spanbridge.at" (list .Values.config "receivers" "otlp" "protocols") | fromJson).value | default dict -}}
{{- $ports := dict -}}
{{- range $protocol, $default := dict "grpc" "localhost:4317" "http" "localhost:4318" -}}
{{- if hasKey $protocols $protocol -}}
{{- $endpoint := (include "spanbridge.at" (list $protocols $protocol "endpoint") | fromJson).value -}}
{{- with include "spanbridge.portOf" (list $endpoint $default) -}}
{{- $_ := set $ports (print "otlp-" $protocol) (int .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $ports | toJson -}}
{{- end -}}

{{/* The bytes that all journals on disk may hold, as the bridge reckons them; 0 where none is on disk. */}}
{{- define "spanbridge.journalBytes" -}}
{{- $config := .Values.config -}}
{{- $sum := 0 -}}
{{- range $id, $pipeline := (include "spanbridge.at" (list $config "service" "pipelines") | fromJson).value | default dict -}}
{{- $largest := 0 -}}
{{- $stored := false -}}
{{- range $exporter := (include "spanbridge.at" (list $pipeline "exporters") | fromJson).value | default list -}}
{{- $queue := (include "spanbridge.at" (list $config "exporters" $exporter "sending_queue") | fromJson).value | default dict -}}
{{- $bytes := ternary $queue.queue_size nil (eq (toString $queue.sizer) "bytes") | default 1073741824 -}}
{{- $stored = or $stored (not (empty $queue.storage)) -}}
{{- $largest = max $largest (int64 $bytes) -}}
{{- end -}}
{{- if and $stored (hasPrefix "traces" $id) -}}
{{- $sum = add $sum $largest -}}
{{- end -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{/* Whether a pipeline has a processor of this type: (list config "tail_sampling"); empty means no. */}}
{{- define "spanbridge.uses" -}}
{{- $type := last . -}}
{{- range $id, $pipeline := (include "spanbridge.at" (list (first .) "service" "pipelines") | fromJson).value | default dict -}}
{{- range (include "spanbridge.at" (list $pipeline "processors") | fromJson).value | default list -}}
{{- if eq (first (splitList "/" .)) $type -}}yes{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A quantity such as 2560Mi in bytes. */}}
{{- define "spanbridge.bytes" -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $number := regexFind "^[0-9.]+" (toString .) -}}
{{- $unit := trimPrefix $number (toString .) -}}
{{- if or (eq $number "") (not (hasKey $units $unit)) -}}
{{- fail (printf "%v is no size; write for example 2560Mi or 10Gi" .) -}}
{{- end -}}
{{- mulf (float64 $number) (get $units $unit) | int64 -}}
{{- end -}}

{{/* A duration such as 1m30s in whole seconds, rounded up; empty where it can't be known. */}}
{{- define "spanbridge.seconds" -}}
{{- $text := toString . -}}
{{- $units := dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001 "us" 0.000001 "ns" 0.000000001 -}}
{{- if not (contains "${" $text) -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9.]+(?:ms|us|ns|h|m|s)" $text -1 -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{- $sum = addf $sum (mulf (float64 $number) (get $units (trimPrefix $number .))) -}}
{{- end -}}
{{- ceil $sum -}}
{{- end -}}
{{- end -}}
