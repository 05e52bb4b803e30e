{{- /* The entries of the webhook configuration: name, path, and what else a namespace must meet, as a JSON list.

A selector's conditions are all ANDed, so "unlabelled or privileged" takes an entry each. They are complementary for
every value of the label, also one that is no level: Pod Security takes that for restricted. */ -}}
{{- define "memlock.webhookEntries" -}}
{{- $label := "pod-security.kubernetes.io/enforce" -}}
{{- $exempt := .Values.podSecurity.exemptNamespaces | default list -}}
{{- $name := "kubernetes.io/metadata.name" -}}
{{- $default := ternary "privileged" "baseline" (eq .Values.podSecurity.defaultLevel "privileged") -}}
{{- $others := ternary (list (dict "key" $name "operator" "NotIn" "values" $exempt)) list (gt (len $exempt) 0) -}}
{{- $absent := dict "key" $label "operator" "DoesNotExist" -}}
{{- $present := dict "key" $label "operator" "Exists" -}}
{{- $privileged := dict "key" $label "operator" "In" "values" (list "privileged") -}}
{{- $enforcing := dict "key" $label "operator" "NotIn" "values" (list "privileged") -}}
{{- /* Every namespace has this label, so without names of exempt ones the last entry has none. */ -}}
{{- $exempted := ternary (dict "key" $name "operator" "In" "values" $exempt) (dict "key" $name "operator" "DoesNotExist") (gt (len $exempt) 0) -}}
{{- toJson (list
  (dict "name" "inject.memlock.dev" "path" "baseline" "expressions" (concat (list $present $enforcing) $others))
  (dict "name" "inject-privileged.memlock.dev" "path" "privileged" "expressions" (concat (list $privileged) $others))
  (dict "name" "inject-unlabelled.memlock.dev" "path" $default "expressions" (concat (list $absent) $others))
  (dict "name" "inject-exempt.memlock.dev" "path" "privileged" "expressions" (list $exempted))
) -}}
{{- end -}}

{{- /* Which pods the webhook handles, beside those annotations: no rule where no value asks for one. Indented like a spec's. */ -}}
{{- define "memlock.objectSelector" -}}
{{- with .Values.webhook.objectSelector }}
{{- if or .matchLabels .matchExpressions }}
objectSelector:
  {{- with .matchLabels }}
  matchLabels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .matchExpressions }}
  matchExpressions:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* What becomes of annotated pods without the webhook: a clause without its full stop. */ -}}
{{- define "memlock.withoutWebhook" -}}
{{- if eq .Values.webhook.failurePolicy "Fail" -}}
annotated pods are refused
{{- else if .Values.policies.finalState -}}
annotated pods that do not ask for IPC_LOCK themselves are refused
{{- else -}}
annotated pods start without IPC_LOCK
{{- end -}}
{{- end -}}

{{- /* Image of the agent: what is not given is the operator's. The operator's digest belongs to its own repository and
tag, so it is not taken when one of these is another. */ -}}
{{- define "memlock.agentImage" -}}
{{- $own := .Values.image -}}
{{- $agent := .Values.agent.image -}}
{{- $digest := $agent.digest | default (ternary "" $own.digest (or (ne $agent.repository "") (ne $agent.tag ""))) -}}
{{- with .Values.global.imageRegistry | default $agent.registry | default $own.registry -}}{{ . }}/{{- end -}}
{{- $agent.repository | default $own.repository -}}
{{- if $digest -}}@{{ $digest }}
{{- else -}}:{{ $agent.tag | default $own.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}
