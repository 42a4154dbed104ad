{{/* What works, but perhaps not as it is meant. */}}

{{- define "spanbridge.warnings" -}}
{{- $config := .Values.config -}}
{{- range $id, $exporter := $config.exporters }}
{{- if and (kindIs "map" $exporter) (not (include "spanbridge.at" (list $exporter "sending_queue" "storage") | fromJson).value) }}
[WARNING] config.exporters.{{ $id }} names no sending_queue.storage: what was acknowledged is lost when the process dies.
{{ end }}
{{- if and (eq $.Values.mode "sidecar") $.Values.injection.enabled (kindIs "map" $exporter) (or (get $exporter "experiment") (get $exporter "experiment_id")) }}
[WARNING] config.exporters.{{ $id }} names an experiment: the annotation spanbridge.io/experiment has no effect.
{{ end }}
{{- end }}
{{- if eq .Values.mode "gateway" }}
{{- $most := ternary .Values.autoscaling.maxReplicas .Values.replicaCount .Values.autoscaling.enabled | int }}
{{- if and (gt $most 1) (not .Values.traceIdRouting) }}
[WARNING] With several pods the spans of a trace may come to different ones, and each hands its part to MLflow on its
own. See traceIdRouting.
{{ end }}
{{- if not .Values.persistence.enabled }}
[WARNING] The journal is an emptyDir: it survives a restart of the container, not the end of the pod. What MLflow has
not taken when the grace period ends is lost with it; persistence.enabled keeps it.
{{ end }}
{{- if and .Values.persistence.enabled .Values.autoscaling.enabled }}
[WARNING] What a pod that is scaled away could not deliver in time waits in its volume until the pod comes back.
{{ end }}
{{- end }}
{{- end -}}
