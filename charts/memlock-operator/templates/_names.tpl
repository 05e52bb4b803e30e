{{- /* The chart's name. */ -}}
{{- define "memlock.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- /* The prefix of every object's name; 52 characters leave room for the longest ending, -controller.
A release called "memlock" gives "memlock-operator", not "memlock-memlock-operator". */ -}}
{{- define "memlock.fullname" -}}
{{- $name := include "memlock.name" . -}}
{{- $full := printf "%s-%s" .Release.Name $name -}}
{{- if contains $name .Release.Name -}}{{- $full = .Release.Name -}}
{{- else if hasPrefix (printf "%s-" .Release.Name) $name -}}{{- $full = $name -}}
{{- end -}}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "memlock.webhookName" -}}{{ include "memlock.fullname" . }}-webhook{{- end -}}
{{- define "memlock.controllerName" -}}{{ include "memlock.fullname" . }}-controller{{- end -}}
{{- define "memlock.certificateSecretName" -}}
{{- $own := printf "%s-tls" (include "memlock.fullname" .) -}}
{{- ternary .Values.certificates.existingSecret $own (eq .Values.certificates.mode "existingSecret") -}}
{{- end -}}

{{- define "memlock.webhookServiceAccountName" -}}
{{- .Values.webhook.serviceAccount.name | default (include "memlock.webhookName" .) -}}
{{- end -}}
{{- define "memlock.controllerServiceAccountName" -}}
{{- .Values.controller.serviceAccount.name | default (include "memlock.controllerName" .) -}}
{{- end -}}

{{- /* Selectors can never be changed by an upgrade, so nothing that a value or a version moves is in them.
Call: dict "root" $ "component" "webhook". */ -}}
{{- define "memlock.selectorLabels" -}}
app.kubernetes.io/name: {{ include "memlock.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "memlock.labels" -}}
{{- $own := include "memlock.selectorLabels" . | fromYaml -}}
{{- $_ := merge $own (dict
  "app.kubernetes.io/part-of" "memlock-operator"
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/managed-by" .root.Release.Service
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
) .root.Values.commonLabels -}}
{{- toYaml $own -}}
{{- end -}}

{{- define "memlock.image" -}}
{{- with .Values.global.imageRegistry | default .Values.image.registry -}}{{ . }}/{{- end -}}
{{- .Values.image.repository -}}
{{- if .Values.image.digest -}}@{{ .Values.image.digest }}
{{- else -}}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "memlock.pullSecrets" -}}
{{- with concat .Values.imagePullSecrets .Values.global.imagePullSecrets | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Where helm test creates its pod: of the namespaces that are served the first, where only some are and none is chosen. */ -}}
{{- define "memlock.testNamespace" -}}
{{- if .Values.test.namespace -}}{{ .Values.test.namespace }}
{{- else -}}{{ first (concat .Values.namespaces (list "default")) }}
{{- end -}}
{{- end -}}
