{{/* The name of one part of this release. */}}
{{- define "yuefu.name" -}}
{{ printf "%s-%s" .root.Release.Name .part | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* By what a part's pods are known. */}}
{{- define "yuefu.selector" -}}
app.kubernetes.io/name: yuefu
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "yuefu.labels" -}}
{{ include "yuefu.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* What no pod may do. */}}
{{- define "yuefu.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .group }}
fsGroup: {{ .group }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "yuefu.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* Where a part tells how it fares: the image has it listen there. */}}
{{- define "yuefu.ports" -}}
- { name: http, containerPort: 8080 }
{{- end }}

{{/* When a part is started again. */}}
{{- define "yuefu.probes" -}}
startupProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 90
livenessProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 4
{{- end }}

{{/* From when on an upgrade may take the one before away. Not of a bot: without an engine it is not
     ready, but takes Telegram's calls, and where engines go to nought that is what brings one back. */}}
{{- define "yuefu.readiness" -}}
readinessProbe:
  httpGet: { path: /readyz, port: http }
  periodSeconds: 10
  timeoutSeconds: 5
{{- end }}

{{/* The settings of a part: those that are shared, its own, and where its secrets lie. */}}
{{- define "yuefu.env" -}}
{{- range $name, $value := merge (dict) (.settings | default dict) .root.Values.settings }}
- { name: {{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- range $name, $file := .secrets }}
- { name: {{ $name }}_FILE, value: /run/secrets/{{ $file }} }
{{- end }}
{{- end }}

{{/* The volume with a part's secrets, and with no other's. */}}
{{- define "yuefu.secrets" -}}
name: secrets
secret:
  secretName: {{ .root.Values.secret }}
  defaultMode: 0440
  items:
    {{- range .files }}
    - { key: {{ . }}, path: {{ . }} }
    {{- end }}
{{- end }}

{{/* The registry of checkpoints: a bucket, or a volume. */}}
{{- define "yuefu.modelsEnv" -}}
- { name: YUEFU_MODELS, value: {{ .Values.models.url | default "/models" | quote }} }
{{- end }}

{{- define "yuefu.modelsVolume" -}}
name: models
{{- if .Values.models.url }}
emptyDir: {}
{{- else }}
persistentVolumeClaim: { claimName: {{ include "yuefu.name" (dict "root" . "part" "models") }} }
{{- end }}
{{- end }}
