{{- define "pinclip.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "pinclip.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "pinclip.labels" -}}
{{ include "pinclip.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "pinclip.secret" -}}
{{ .Values.secret.existing | default (printf "%s-secret" (include "pinclip.name" .)) }}
{{- end }}

{{- define "pinclip.claim" -}}
{{ .Values.state.existingClaim | default (printf "%s-state" (include "pinclip.name" .)) }}
{{- end }}

{{- define "pinclip.image" -}}
{{ .name }}:{{ .root.Values.images.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- /* Of every pod. enableServiceLinks: a Service named pinclip would be told to the pods as
PINCLIP_PORT=tcp://..., which is the name of one of our settings. */ -}}
{{- define "pinclip.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "pinclip.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- /* Of every container that runs pinclip beside the database: the API, and who waits for a key. */ -}}
{{- define "pinclip.server" -}}
image: {{ include "pinclip.image" (dict "root" . "name" .Values.images.server) }}
imagePullPolicy: {{ .Values.images.pullPolicy }}
{{ include "pinclip.container" . }}
envFrom:
  - configMapRef: {name: {{ include "pinclip.name" . }}-settings}
env:
  - name: REDIS_URL
    valueFrom:
      secretKeyRef: {name: {{ include "pinclip.secret" . }}, key: REDIS_URL}
  - name: DATABASE_URL
    valueFrom:
      secretKeyRef: {name: {{ include "pinclip.secret" . }}, key: DATABASE_URL}
  # Not in the state folder, which workers can read.
  - name: PINCLIP_RECEIPT_KEY
    valueFrom:
      secretKeyRef: {name: {{ include "pinclip.secret" . }}, key: RECEIPT_KEY}
  - {name: PINCLIP_HOST, value: 0.0.0.0}
  # By its own address it is asked by the probes and by Prometheus.
  - name: POD_IP
    valueFrom:
      fieldRef: {fieldPath: status.podIP}
  - name: PINCLIP_ALLOWED_HOSTS
    value: {{ include "pinclip.hosts" . | quote }}
resources: {{- toYaml .Values.server.resources | nindent 2 }}
volumeMounts:
  - {name: state, mountPath: /var/lib/pinclip}
  - {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "pinclip.hosts" -}}
{{- $name := include "pinclip.name" . }}
{{- $space := printf "%s.%s" $name .Release.Namespace }}
{{- $within := list "$(POD_IP)" $name $space (printf "%s.svc" $space) (printf "%s.svc.cluster.local" $space) }}
{{- concat $within .Values.hosts | join "," }}
{{- end }}

{{- /* Egress to the public internet: what worker/guard.py dials, and nothing in between. */ -}}
{{- define "pinclip.outside" -}}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        # What worker/guard.py refuses to dial.
        except:
          - 0.0.0.0/8
          - 10.0.0.0/8
          - 100.64.0.0/10
          - 127.0.0.0/8
          - 168.63.129.16/32
          - 169.254.0.0/16
          - 172.16.0.0/12
          - 192.0.0.0/24
          - 192.0.2.0/24
          - 192.31.196.0/24
          - 192.52.193.0/24
          - 192.88.99.0/24
          - 192.168.0.0/16
          - 192.175.48.0/24
          - 198.18.0.0/15
          - 198.51.100.0/24
          - 203.0.113.0/24
          - 224.0.0.0/4
          - 240.0.0.0/4
    - ipBlock:
        cidr: 2000::/3
        except:
          - 2001::/23
          - 2001:db8::/32
          - 2002::/16
          - 2620:4f:8000::/48
          - 3fff::/20
    {{- range .Values.fetch.allowNetworks }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  ports:
    - {protocol: TCP, port: 80}
    - {protocol: TCP, port: 443}
    {{- range .Values.fetch.allowPorts }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}

{{- define "pinclip.checksums" -}}
checksum/config: {{ include (print $.Template.BasePath "/config.yaml") . | sha256sum }}
checksum/secret: {{ include (print $.Template.BasePath "/secret.yaml") . | sha256sum }}
{{- end }}
