{{/*
The bridge as a native sidecar: an item of a pod's initContainers that starts before and ends after the application.
A chart that has this one as a dependency, with mode: sidecar, writes

    initContainers:
      {{- include "spanbridge.sidecar" .Subcharts.spanbridge | nindent 8 }}
    volumes:
      {{- include "spanbridge.sidecar.volumes" .Subcharts.spanbridge | nindent 8 }}

and sets OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 in its own containers. The configuration travels in an
environment variable: no ConfigMap is needed where the pod is, and pods are replaced when it changes.
*/}}

{{- define "spanbridge.sidecar" -}}
- name: spanbridge
  restartPolicy: Always
  args: ["--config=env:SPANBRIDGE_CONFIG"]
  env:
    - name: SPANBRIDGE_HOST
      value: localhost
    - name: TMPDIR
      value: {{ .Values.journal.mountPath }}
    # Read from the annotation by the kubelet, so that no text of a pod's author becomes part of anything.
    - name: MLFLOW_EXPERIMENT_NAME
      valueFrom:
        fieldRef:
          fieldPath: metadata.annotations['spanbridge.io/experiment']
    {{- with .Values.extraEnvs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    # Kubernetes reads "$$" in a value as "$".
    - name: SPANBRIDGE_CONFIG
      value: {{ toYaml .Values.config | replace "$" "$$" | quote }}
  {{- include "spanbridge.container" . | nindent 2 }}
  ports:
    {{- include "spanbridge.ownPorts" . | nindent 4 }}
  volumeMounts:
    {{- include "spanbridge.mounts" . | nindent 4 }}
{{- end -}}

{{- define "spanbridge.sidecar.volumes" -}}
{{ include "spanbridge.journalVolume" . }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
