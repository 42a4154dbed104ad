{{/* Names and labels. */}}

{{- define "spanbridge.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "spanbridge.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $both .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* Of what belongs to no namespace. */}}
{{- define "spanbridge.clusterName" -}}
{{ include "spanbridge.fullname" . }}.{{ .Release.Namespace }}
{{- end -}}

{{- define "spanbridge.selectorLabels" -}}
app.kubernetes.io/name: {{ include "spanbridge.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "spanbridge.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "spanbridge.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Of a pod that has the sidecar, however it got there. */}}
{{- define "spanbridge.injectedLabel" -}}
spanbridge.io/injected
{{- end -}}

{{- define "spanbridge.serviceAccountName" -}}
{{- $made := ternary (include "spanbridge.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $made .Values.serviceAccount.name -}}
{{- end -}}

{{- define "spanbridge.image" -}}
{{- $image := .Values.image -}}
{{- $tag := default (print .Chart.AppVersion (ternary "-sidecar" "" (eq .Values.mode "sidecar"))) $image.tag -}}
{{- $image.repository }}{{ ternary (print "@" $image.digest) (print ":" $tag) (ne $image.digest "") -}}
{{- end -}}
