{{/* The bridge's container, the same in both modes: its shell puts name, args, env, mounts and ports around it. */}}

{{- define "spanbridge.container" -}}
image: {{ include "spanbridge.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.extraEnvsFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
startupProbe:
  {{- include "spanbridge.probe" (list . "/readyz" .Values.startupProbe) | nindent 2 }}
readinessProbe:
  {{- include "spanbridge.probe" (list . "/readyz" .Values.readinessProbe) | nindent 2 }}
livenessProbe:
  {{- include "spanbridge.probe" (list . "/livez" .Values.livenessProbe) | nindent 2 }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end -}}

{{/* (list root path times) */}}
{{- define "spanbridge.probe" -}}
httpGet:
  path: {{ index . 1 }}
  port: bridge-health
{{ toYaml (last .) }}
{{- end -}}

{{/* Health, and metrics where there are some. */}}
{{- define "spanbridge.ownPorts" -}}
- name: bridge-health
  containerPort: {{ include "spanbridge.healthPort" . }}
  protocol: TCP
{{- with (include "spanbridge.metrics" . | fromJson).port }}
- name: bridge-metrics
  containerPort: {{ . }}
  protocol: TCP
{{- end }}
{{- with .Values.extraPorts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "spanbridge.mounts" -}}
- name: spanbridge-journal
  mountPath: {{ .Values.journal.mountPath }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* An emptyDir goes when its pod goes, not when a container is restarted. */}}
{{- define "spanbridge.journalVolume" -}}
- name: spanbridge-journal
  emptyDir:
    sizeLimit: {{ .Values.journal.size }}
{{- end -}}
