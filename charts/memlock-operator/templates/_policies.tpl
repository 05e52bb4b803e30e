{{- /* What the ValidatingAdmissionPolicies have in common. */ -}}

{{- /* Where the webhook does not act, nothing may ask for what it would have done: one selector for both. */ -}}
{{- define "memlock.namespaceSelector" -}}
{{- with .Values.webhook.namespaceSelector.matchLabels }}
matchLabels:
  {{- toYaml . | nindent 2 }}
{{- end }}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values: [{{ .Release.Namespace | quote }}, kube-system]
  {{- with .Values.namespaces }}
  - key: kubernetes.io/metadata.name
    operator: In
    values: [{{ join ", " . }}]
  {{- end }}
  {{- with .Values.webhook.namespaceSelector.matchExpressions }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* Call both with: dict "root" $ "component" "controller" "policy" "exec". */ -}}
{{- define "memlock.policyMetadata" -}}
name: {{ include "memlock.fullname" .root }}-{{ .policy }}
labels:
  {{- include "memlock.labels" . | nindent 2 }}
{{- end -}}

{{- /* The rest of its spec follows the call. */ -}}
{{- define "memlock.policyBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  {{- include "memlock.policyMetadata" . | nindent 2 }}
spec:
  policyName: {{ include "memlock.fullname" .root }}-{{ .policy }}
{{- end -}}

{{- /* True for requests of the controller alone. */ -}}
{{- define "memlock.isController" -}}
has(request.userInfo.username) &&
request.userInfo.username == {{ printf "system:serviceaccount:%s:%s" .Release.Namespace (include "memlock.controllerServiceAccountName" .) | squote }}
{{- end -}}

{{- /* files/exec-argv.json as a list of lists in CEL. What JSON escapes, CEL escapes alike; without the HTML escapes,
so that people can read it. */ -}}
{{- define "memlock.execArgv" -}}
{{- $lists := .Files.Get "files/exec-argv.json" | fromJsonArray -}}
{{- range $list := $lists -}}
{{- if not (and (kindIs "slice" $list) $list) -}}
{{- fail "files/exec-argv.json of the chart is not a JSON list of lists of words, so the policy for exec cannot be written: restore the file from the release" -}}
{{- end -}}
{{- range $list -}}
{{- if not (kindIs "string" .) -}}
{{- fail "files/exec-argv.json of the chart has an argument that is no string, so the policy for exec cannot be written: restore the file from the release" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- mustToRawJson $lists | trim -}}
{{- end -}}
