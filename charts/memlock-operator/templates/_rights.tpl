{{- /* What the controller may do with pods: in the whole cluster, or in each namespace that is named. */ -}}
{{- define "memlock.rightsOnPods" -}}
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Condition, label and annotation in one patch. Deliberately not pods: that would allow changing any pod's image.
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
# Exec by WebSocket is a GET; newer API servers ask for create as well.
- apiGroups: [""]
  resources: [pods/exec]
  verbs: [get, create]
- apiGroups: [memlock.dev]
  resources: [swapdevices]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [memlock.dev]
  resources: [swapdevices/status]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
