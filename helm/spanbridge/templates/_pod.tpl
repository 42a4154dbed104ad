{{/* The pod template of a gateway, the same in a Deployment and in a StatefulSet. */}}

{{- define "spanbridge.podTemplate" -}}
metadata:
  annotations:
    checksum/config: {{ toYaml .Values.config | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "spanbridge.selectorLabels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  serviceAccountName: {{ include "spanbridge.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  containers:
    - name: spanbridge
      args: [--config=/conf/config.yaml]
      env:
        - name: SPANBRIDGE_HOST
          value: ""
        - name: TMPDIR
          value: {{ .Values.journal.mountPath }}
        {{- with .Values.extraEnvs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- include "spanbridge.container" . | nindent 6 }}
      {{- if .Values.preStopSleepSeconds }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.preStopSleepSeconds }}
      {{- end }}
      ports:
        {{- range $name, $port := include "spanbridge.otlpPorts" . | fromJson }}
        - name: {{ $name }}
          containerPort: {{ $port }}
          protocol: TCP
        {{- end }}
        {{- include "spanbridge.ownPorts" . | nindent 8 }}
      volumeMounts:
        - name: spanbridge-config
          mountPath: /conf
          readOnly: true
        {{- include "spanbridge.mounts" . | nindent 8 }}
  volumes:
    - name: spanbridge-config
      configMap:
        name: {{ include "spanbridge.fullname" . }}
    {{- if not .Values.persistence.enabled }}
    {{- include "spanbridge.journalVolume" . | nindent 4 }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- $selector := include "spanbridge.selectorLabels" $ | fromYaml | dict "matchLabels" | dict "labelSelector" }}
    {{- range . }}
    - {{- merge dict . $selector | toYaml | nindent 6 }}
    {{- end }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
