{{- /* What the webhook's and the controller's pods have in common.
Call each with: dict "root" $ "component" "webhook" "values" .Values.webhook. */ -}}

{{- /* Without the chart's version, so that a new chart alone restarts no pod; ours first, so that selectors hold. */ -}}
{{- define "memlock.podMetadata" -}}
{{- $labels := omit (include "memlock.labels" . | fromYaml) "helm.sh/chart" -}}
{{- $annotations := dict "kubectl.kubernetes.io/default-container" .component -}}
labels:
  {{- toYaml (merge $labels .values.podLabels) | nindent 2 }}
annotations:
  {{- toYaml (merge $annotations .values.podAnnotations) | nindent 2 }}
{{- end -}}

{{- define "memlock.podPlacement" -}}
{{- include "memlock.pullSecrets" .root }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
{{- $selector := dict "labelSelector" (dict "matchLabels" (include "memlock.selectorLabels" $ | fromYaml)) }}
topologySpreadConstraints:
  {{- range . }}
  {{- toYaml (list (merge (deepCopy .) (ternary dict $selector (hasKey . "labelSelector")))) | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "memlock.podSecurity" -}}
# Nothing here reads the variables that describe every Service of the namespace.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "memlock.container" -}}
image: {{ include "memlock.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml .values.resources | nindent 2 }}
livenessProbe:
  httpGet:
    path: /livez
    port: admin
  timeoutSeconds: 3
readinessProbe:
  httpGet:
    path: /readyz
    port: admin
  periodSeconds: 2
  timeoutSeconds: 2
{{- end -}}

{{- define "memlock.env" -}}
- name: MEMLOCK_LOG
  value: {{ .root.Values.logging.level | quote }}
- name: MEMLOCK_LOG_FORMAT
  value: {{ .root.Values.logging.format | quote }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
