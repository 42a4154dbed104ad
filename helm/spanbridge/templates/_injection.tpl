{{/* What the two admission policies of the injection have in common. */}}

{{/* Pods that may be injected: none of the cluster's own, none that the kubelet runs from a file. */}}
{{- define "spanbridge.injection.match" -}}
matchConstraints:
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: NotIn
        values: [kube-system, kube-public, kube-node-lease]
  resourceRules:
    - apiGroups: [""]
      apiVersions: [v1]
      operations: [CREATE]
      resources: [pods]
matchConditions:
  - name: annotated
    expression: object.metadata.?annotations["spanbridge.io/inject"].hasValue()
  - name: no-mirror-of-a-static-pod
    expression: '!object.metadata.?annotations["kubernetes.io/config.mirror"].hasValue()'
{{- end -}}

{{/* The annotations by their last name, empty where there is none; and where to send by protocol. */}}
{{- define "spanbridge.injection.variables" -}}
{{- range list "inject" "experiment" "config" "protocol" }}
- name: {{ . }}
  expression: object.metadata.?annotations["spanbridge.io/{{ . }}"].orValue("")
{{- end }}
- name: endpoints
  expression: {{ include "spanbridge.injection.endpoints" . | squote }}
{{- end -}}

{{/* Where to send by protocol, as JSON. */}}
{{- define "spanbridge.injection.endpoints" -}}
{{- $endpoints := dict -}}
{{- range $name, $port := include "spanbridge.otlpPorts" . | fromJson -}}
{{- $_ := set $endpoints (get (dict "otlp-grpc" "grpc" "otlp-http" "http/protobuf") $name) (printf "http://localhost:%v" $port) -}}
{{- end -}}
{{- $endpoints | toJson -}}
{{- end -}}

{{/* Binds a policy in the namespaces that values.yaml names: (list root kind) */}}
{{- define "spanbridge.injection.binding" -}}
{{- $root := first . -}}
apiVersion: admissionregistration.k8s.io/v1
kind: {{ last . }}Binding
metadata:
  name: {{ include "spanbridge.clusterName" $root }}
  labels:
    {{- include "spanbridge.labels" $root | nindent 4 }}
spec:
  policyName: {{ include "spanbridge.clusterName" $root }}
  {{- if eq (last .) "ValidatingAdmissionPolicy" }}
  validationActions: [Deny]
  {{- end }}
  {{- with $root.Values.injection.namespaceSelector }}
  matchResources:
    namespaceSelector:
      {{- toYaml . | nindent 6 }}
  {{- end }}
{{- end -}}
