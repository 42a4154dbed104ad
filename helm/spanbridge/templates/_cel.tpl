{{/*
A value as a CEL literal. CEL in Kubernetes wants one type for all members of a map or list; dyn() is any type.
JSON's strings, numbers and booleans are CEL's too.
*/}}
{{- define "spanbridge.cel" -}}
{{- if kindIs "map" . -}}
{ {{- range $index, $key := keys . | sortAlpha -}}
{{- if $index }}, {{ end }}{{ toJson $key }}: dyn({{ include "spanbridge.cel" (get $ $key) }})
{{- end -}} }
{{- else if kindIs "slice" . -}}
[{{- range $index, $item := . }}{{ if $index }}, {{ end }}dyn({{ include "spanbridge.cel" $item }}){{ end -}}]
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}
