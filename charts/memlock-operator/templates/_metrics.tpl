{{- /* Whether an object of the Prometheus operator is rendered: "true" or nothing.
Call: dict "root" $ "kind" "ServiceMonitor" "at" "metrics.serviceMonitor" "settings" .Values.metrics.serviceMonitor. */ -}}
{{- define "memlock.monitoringRendered" -}}
{{- if .settings.enabled -}}
{{- if or (eq .settings.renderMode "alwaysRender") (.root.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" .kind)) -}}
true
{{- else if eq .settings.renderMode "failIfMissing" -}}
{{- fail (printf "%s.enabled is true, and this cluster does not know the kind %s of monitoring.coreos.com/v1: install the Prometheus operator first, or set %s.renderMode to skipIfMissing, or to alwaysRender where the chart is rendered without a cluster" .at .kind .at) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "memlock.metricsLabels" -}}
app.kubernetes.io/name: {{ include "memlock.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- /* What ServiceMonitor and PodMonitor have in common: one endpoint. */ -}}
{{- define "memlock.scrapeEndpoint" -}}
path: /metrics
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
relabelings:
  - sourceLabels: [__meta_kubernetes_pod_label_app_kubernetes_io_component]
    targetLabel: component
  {{- with .relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Labels and the first annotation of an alert; the others follow the call. Call: list $ SEVERITY ALERT. */ -}}
{{- define "memlock.alert" -}}
{{- $values := (index . 0).Values.metrics.prometheusRule -}}
labels:
  {{- merge (dict "severity" (index . 1)) $values.alertLabels | toYaml | nindent 2 }}
annotations:
  {{- if $values.runbookUrl }}
  runbook_url: {{ $values.runbookUrl }}/{{ index . 2 }}.md
  {{- else }}
  runbook: docs/runbooks/{{ index . 2 }}.md
  {{- end }}
{{- end -}}

{{- /* Seconds of a time such as 1h30m. */ -}}
{{- define "memlock.seconds" -}}
{{- $seconds := 0 -}}
{{- range $unit, $each := dict "h" 3600 "m" 60 "s" 1 -}}
{{- $part := regexFind (printf "[0-9]+%s" $unit) $ | trimSuffix $unit | default "0" -}}
{{- $seconds = add $seconds (mul $each (atoi $part)) -}}
{{- end -}}
{{- $seconds -}}
{{- end -}}

{{- /* Three check intervals, but no less than a quarter of an hour, as a duration of Prometheus. */ -}}
{{- define "memlock.stalledAfter" -}}
{{- max 900 (mul 3 (include "memlock.seconds" .Values.controller.interval | atoi)) -}}s
{{- end -}}

{{- /* Seconds left of a certificate that should have been replaced: where the controller does that, a third of its life is
left in good times, so a quarter is the most that can be asked for. */ -}}
{{- define "memlock.certificateLeft" -}}
{{- $left := mul 86400 (int .Values.metrics.prometheusRule.certificateDays) -}}
{{- if eq .Values.certificates.mode "internal" -}}
{{- $left = min $left (div (include "memlock.seconds" .Values.certificates.life | atoi) 4) -}}
{{- end -}}
{{- $left -}}
{{- end -}}
