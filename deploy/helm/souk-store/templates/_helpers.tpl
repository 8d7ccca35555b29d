{{/* The name of the image with its tag. */}}
{{- define "souk.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "souk.labels" -}}
app.kubernetes.io/name: souk-store
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Refuses values that would start a store without its data. */}}
{{- define "souk.check" -}}
{{- if .Values.components }}
{{- if not .Values.nats.servers }}
{{- fail "`components` needs nats.servers: the pods find each other by NATS" }}
{{- end }}
{{- $named := list }}
{{- range $name, $list := .Values.components }}
{{- $named = concat $named $list }}
{{- end }}
{{- range list "gateway" "auth" "passwords" "products" "orders" "payments" "webhook" "stripe-sandbox" }}
{{- if not (has . $named) }}
{{- fail (printf "`components` leaves out %s: name it in one of the lists" .) }}
{{- end }}
{{- end }}
{{- if ne (len $named) (len (uniq $named)) }}
{{- fail "`components` names a component twice; `replicas` makes more pods of each" }}
{{- end }}
{{- else if gt (int .Values.replicas) 1 }}
{{- fail "one pod with a volume cannot be two: leave `replicas` at 1, or set `components`" }}
{{- else if .Values.nats.servers }}
{{- fail "one pod does not use nats.servers, and keeps accounts in its volume: leave them out, or set `components`" }}
{{- end }}
{{- end }}

{{/* The name of the deployment that runs a component. */}}
{{- define "souk.runs" -}}
{{- $found := "client-gateway" }}
{{- $wanted := .component }}
{{- range $name, $list := .values.components }}
{{- if has $wanted $list }}{{ $found = $name }}{{ end }}
{{- end }}
{{- $found }}
{{- end }}

{{/* The pod. `name` is the deployment's, `only` the components that it runs, none for all. */}}
{{- define "souk.pod" -}}
{{- $values := .root.Values }}
metadata:
  labels:
    app: {{ .name }}
    {{- include "souk.labels" .root | nindent 4 }}
  annotations:
    # Replaces a pod that has the old configuration.
    checksum/configuration: {{ $values.nats | toYaml | sha256sum }}
spec:
  # Longer than the limit `drain`, and the pause before it.
  terminationGracePeriodSeconds: {{ add $values.drainSeconds 15 }}
  enableServiceLinks: false
  automountServiceAccountToken: false
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile:
      type: RuntimeDefault
  {{- with $values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . | quote }}
    {{- end }}
  {{- end }}
  containers:
    - name: souk
      image: {{ include "souk.image" .root | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args:
        - up
        - --from=/usr/share/souk/store
        - --state-dir=/var/lib/souk
        - --listen=0.0.0.0:3000
        {{- if $values.components }}
        - --runtime-config-file=/etc/souk/runtime-config.toml
        - --only={{ join "," .only }}
        {{- end }}
        {{- range $values.extraArgs }}
        - {{ . | quote }}
        {{- end }}
      ports:
        - name: http
          containerPort: 3000
      env:
        - name: SPIN_VARIABLE_PUBLIC_URL
          value: {{ $values.publicUrl | quote }}
        - name: SPIN_VARIABLE_SEED
          value: {{ $values.seed | quote }}
        - name: SPIN_VARIABLE_JWT_SECRET
          valueFrom:
            secretKeyRef: { name: {{ $values.secrets.auth }}, key: JWT_SECRET }
        {{- if or $values.components $values.database }}
        - name: SPIN_VARIABLE_ORDERS_DATABASE_URL
          valueFrom:
            secretKeyRef: { name: {{ $values.secrets.orders }}, key: database_url }
        - name: SPIN_VARIABLE_PRODUCTS_DATABASE_URL
          valueFrom:
            secretKeyRef: { name: {{ $values.secrets.products }}, key: database_url }
        {{- end }}
        - name: SPIN_VARIABLE_STRIPE_SECRET
          valueFrom:
            secretKeyRef: { name: {{ $values.secrets.payments }}, key: stripe_secret{{ if not $values.components }}, optional: true{{ end }} }
        - name: SPIN_VARIABLE_STRIPE_ENDPOINT_SECRET
          valueFrom:
            secretKeyRef: { name: {{ $values.secrets.payments }}, key: stripe_endpoint_secret }
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      # A pod gets requests while it can serve all routes. A missing database is no reason to kill it.
      startupProbe:
        httpGet: { path: /.well-known/spin/health, port: http }
        periodSeconds: 2
        failureThreshold: 60
      readinessProbe:
        httpGet: { path: /.well-known/souk/ready, port: http }
        periodSeconds: 5
        timeoutSeconds: 3
      livenessProbe:
        httpGet: { path: /.well-known/spin/health, port: http }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        readOnlyRootFilesystem: true
        allowPrivilegeEscalation: false
        capabilities:
          drop: [ALL]
      volumeMounts:
        - { name: state, mountPath: /var/lib/souk }
        - { name: tmp, mountPath: /tmp }
        {{- if $values.components }}
        - { name: configuration, mountPath: /etc/souk, readOnly: true }
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- if $values.components }}
    - name: state
      emptyDir: {}
    - name: configuration
      configMap:
        name: souk-runtime-config
    {{- else }}
    - name: state
      persistentVolumeClaim:
        claimName: souk-state
    {{- end }}
{{- end }}
