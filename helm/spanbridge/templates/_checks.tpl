{{/* Values that can't work end in one sentence: what, where, the mend. */}}

{{- define "spanbridge.checks" -}}
{{- include "spanbridge.checks.secrets" (list .Values.config "config") -}}
{{- include "spanbridge.checks.health" . -}}
{{- include "spanbridge.checks.grace" . -}}
{{- include "spanbridge.checks.journal" . -}}
{{- if eq .Values.mode "gateway" -}}
{{- include "spanbridge.checks.gateway" . -}}
{{- else -}}
{{- include "spanbridge.checks.sidecar" . -}}
{{- end -}}
{{- end -}}

{{/* (list value path) */}}
{{- define "spanbridge.checks.secrets" -}}
{{- $value := first . -}}
{{- $path := last . -}}
{{- if kindIs "map" $value -}}
{{- range $key, $item := $value -}}
{{- $at := printf "%s.%s" $path $key -}}
{{- if regexMatch "(?i)^(.*password|.*tokens?|.*secret|hmac_key|key_pem|inline|authorization|.*api[-_]?key|cookie)$" $key -}}
{{- range kindIs "slice" $item | ternary $item (list $item) -}}
{{- if and (kindIs "string" .) . (not (contains "${" .)) -}}
{{- fail (printf "%s: is a secret, which a ConfigMap would show to everybody; write ${env:NAME} and give NAME in extraEnvs from a Secret" $at) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "spanbridge.checks.secrets" (list $item $at) -}}
{{- end -}}
{{- else if kindIs "slice" $value -}}
{{- range $index, $item := $value -}}
{{- include "spanbridge.checks.secrets" (list $item (printf "%s[%d]" $path $index)) -}}
{{- end -}}
{{- else if and (kindIs "string" $value) (regexMatch "^[a-z0-9+]+://[^/@$]*:[^/@${]+@" $value) -}}
{{- fail (printf "%s: holds a password, which a ConfigMap would show to everybody; write ${env:NAME} and give NAME in extraEnvs from a Secret" $path) -}}
{{- end -}}
{{- end -}}

{{- define "spanbridge.checks.health" -}}
{{- $extensions := (include "spanbridge.at" (list .Values.config "service" "extensions") | fromJson).value | default list -}}
{{- if not (and (has "health_check" $extensions) (hasKey (.Values.config.extensions | default dict) "health_check")) -}}
{{- fail "config.service.extensions: health_check is missing, and the probes ask it; add it, with config.extensions.health_check.endpoint: \":13133\"" -}}
{{- end -}}
{{- if include "spanbridge.isLocal" (include "spanbridge.healthEndpoint" .) -}}
{{- fail (printf "config.extensions.health_check.endpoint: %s can't be reached by the probes, which come from outside of the pod; write \":13133\"" (include "spanbridge.healthEndpoint" .)) -}}
{{- end -}}
{{- end -}}

{{/* Whether an endpoint or host is the loopback's; empty means no. */}}
{{- define "spanbridge.isLocal" -}}
{{- if regexMatch "^(localhost|127[.]|\\[?::1\\b)" . -}}yes{{- end -}}
{{- end -}}

{{- define "spanbridge.checks.grace" -}}
{{- $timeout := (include "spanbridge.at" (list .Values.config "service" "shutdown_timeout") | fromJson).value | default "20s" -}}
{{- $sleep := ternary .Values.preStopSleepSeconds 0 (eq .Values.mode "gateway") -}}
{{- with include "spanbridge.seconds" $timeout -}}
{{- if lt (int $.Values.terminationGracePeriodSeconds) (add (int .) $sleep | int) -}}
{{- fail (printf "terminationGracePeriodSeconds: %d s end before the bridge has, which sleeps %d s and drains for %s; set it to %d or more, or shorten config.service.shutdown_timeout" (int $.Values.terminationGracePeriodSeconds) (int $sleep) $timeout (add (int .) $sleep | int)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "spanbridge.checks.journal" -}}
{{- $bytes := include "spanbridge.journalBytes" . | int64 -}}
{{- $least := add (mul 2 $bytes) 67108864 -}}
{{- $size := include "spanbridge.bytes" .Values.journal.size | int64 -}}
{{- if and $bytes (lt $size $least) -}}
{{- fail (printf "journal.size: %s is too small for journals of %d bytes (sending_queue.queue_size), which take up to twice that and 64 MiB on disk; set it to %dMi or more" .Values.journal.size $bytes (ceil (divf $least 1048576) | int64)) -}}
{{- end -}}
{{- $mount := trimSuffix "/" .Values.journal.mountPath -}}
{{- range $id, $extension := .Values.config.extensions -}}
{{- $directory := (include "spanbridge.at" (list $extension "directory") | fromJson).value | default "/var/lib/otelcol/file_storage" -}}
{{- if and $bytes (eq (first (splitList "/" $id)) "file_storage") (not (contains "${" $directory)) (ne $directory $mount) (not (hasPrefix (print $mount "/") $directory)) -}}
{{- fail (printf "config.extensions.%s.directory: %s does not lie in journal.mountPath (%s), and the bridge can write nowhere else; move one of them" $id $directory $mount) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "spanbridge.checks.gateway" -}}
{{- $most := ternary .Values.autoscaling.maxReplicas .Values.replicaCount .Values.autoscaling.enabled | int -}}
{{- if and (gt $most 1) (not .Values.traceIdRouting) (include "spanbridge.uses" (list .Values.config "tail_sampling")) -}}
{{- fail (printf "config.processors.tail_sampling: needs all spans of a trace in one pod, and there may be %d; let senders choose the pod by trace id and set traceIdRouting, or set replicaCount to 1 and autoscaling.enabled to false" $most) -}}
{{- end -}}
{{- range $id, $receiver := .Values.config.receivers -}}
{{- $protocols := (include "spanbridge.at" (list $receiver "protocols") | fromJson).value | default dict -}}
{{- range $protocol, $default := dict "grpc" "localhost:4317" "http" "localhost:4318" -}}
{{- if and (eq (first (splitList "/" $id)) "otlp") (hasKey $protocols $protocol) -}}
{{- $endpoint := (include "spanbridge.at" (list $protocols $protocol "endpoint") | fromJson).value | default $default -}}
{{- if include "spanbridge.isLocal" $endpoint -}}
{{- fail (printf "config.receivers.%s.protocols.%s.endpoint: %s can't be reached from outside of the pod; write \":%s\"" $id $protocol $endpoint (include "spanbridge.portOf" (list $endpoint ""))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.persistence.enabled (not (include "spanbridge.journalBytes" . | int64)) -}}
{{- fail "persistence.enabled: no journal is on disk; name a file_storage extension in sending_queue.storage of an exporter" -}}
{{- end -}}
{{- $scaling := .Values.autoscaling -}}
{{- if and $scaling.enabled (not (or $scaling.targetCPUUtilizationPercentage $scaling.targetJournalBytes)) -}}
{{- fail "autoscaling: has nothing to go by; set targetCPUUtilizationPercentage or targetJournalBytes" -}}
{{- end -}}
{{- include "spanbridge.checks.metrics" . -}}
{{- end -}}

{{- define "spanbridge.checks.metrics" -}}
{{- $metrics := include "spanbridge.metrics" . | fromJson -}}
{{- if or .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- if not $metrics.port -}}
{{- fail "config.service.telemetry.metrics: there are none for a monitor to read; take `level: none` out" -}}
{{- end -}}
{{- if include "spanbridge.isLocal" $metrics.host -}}
{{- fail (printf "config.service.telemetry.metrics: Prometheus can't read them on %s; configure a reader with host: \"\", which is every interface" $metrics.host) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "spanbridge.checks.sidecar" -}}
{{- range $key := list "persistence" "autoscaling" "podDisruptionBudget" "networkPolicy" "serviceMonitor" -}}
{{- if (get $.Values $key).enabled -}}
{{- fail (printf "%s.enabled: is for mode gateway; a sidecar lives in the application's pod and with it" $key) -}}
{{- end -}}
{{- end -}}
{{- range $id, $exporter := .Values.config.exporters -}}
{{- $uri := (include "spanbridge.at" (list $exporter "tracking_uri") | fromJson).value | default "" -}}
{{- if and (empty $.Values.image.tag) (empty $.Values.image.digest) (regexMatch "^(sqlite|postgresql|mysql|databricks)" $uri) -}}
{{- fail (printf "config.exporters.%s.tracking_uri: the sidecar's small image writes to tracking servers (http:// and https://) alone; give one, or set image.tag to %s" $id $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- if gt (len (toYaml .Values.config)) 100000 -}}
{{- fail "config: is larger than 100 kB, too large for the environment variable in which a sidecar gets it" -}}
{{- end -}}
{{- if .Values.injection.enabled -}}
{{- include "spanbridge.checks.injection" . -}}
{{- end -}}
{{- include "spanbridge.checks.metrics" . -}}
{{- end -}}

{{- define "spanbridge.checks.injection" -}}
{{- if not (or (semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version) (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy")) -}}
{{- fail (printf "injection.enabled: needs Kubernetes 1.36 or later, for MutatingAdmissionPolicy in admissionregistration.k8s.io/v1, and this is %s; set it to false and include the template spanbridge.sidecar in the charts of your applications" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- $port := get (dict "grpc" "otlp-grpc" "http/protobuf" "otlp-http") .Values.injection.protocol -}}
{{- if not (hasKey (include "spanbridge.otlpPorts" . | fromJson) $port) -}}
{{- fail (printf "injection.protocol: config.receivers.otlp does not listen for %s; add the protocol there or choose the other one" .Values.injection.protocol) -}}
{{- end -}}
{{- end -}}
