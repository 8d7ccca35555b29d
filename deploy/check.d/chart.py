"""Checks what `helm template` makes of the chart: argv[1] of its own values, argv[2] of observed-values.yaml, argv[3] of
split-values.yaml."""
import sys

import yaml


def objects(path):
    return [document for document in yaml.safe_load_all(open(path)) if document]


def kind(documents, name):
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == name}


def check_pod(deployment, database):
    name = deployment["metadata"]["name"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    # The limit `drain` is 35 s.
    assert pod["terminationGracePeriodSeconds"] > 35, name
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"], name
    assert container["securityContext"]["readOnlyRootFilesystem"], name
    assert container["readinessProbe"]["httpGet"]["path"] == "/.well-known/souk/ready", name
    assert container["livenessProbe"]["httpGet"]["path"] == "/.well-known/spin/health", name
    secrets = {
        (entry["valueFrom"]["secretKeyRef"]["name"], entry["valueFrom"]["secretKeyRef"]["key"])
        for entry in container["env"]
        if "valueFrom" in entry
    }
    # With an empty folder, a new pod would have another sandbox than the one before it, and would not start.
    optional = {
        entry["valueFrom"]["secretKeyRef"]["key"]: entry["valueFrom"]["secretKeyRef"].get("optional", False)
        for entry in container["env"]
        if "valueFrom" in entry
    }
    has_volume = any("persistentVolumeClaim" in volume for volume in pod["volumes"])
    assert optional["stripe_secret"] == has_volume and not optional.get("database_url"), (name, optional)
    # The NestJS system's own secret with its database has the same name: it must not be used unless that is asked for.
    databases = {("orders-secrets", "database_url"), ("products-secrets", "database_url")} if database else set()
    assert secrets == databases | {
        ("auth-secrets", "JWT_SECRET"),
        ("payments-secrets", "stripe_secret"),
        ("payments-secrets", "stripe_endpoint_secret"),
    }, secrets
    selector = deployment["spec"]["selector"]["matchLabels"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert selector.items() <= labels.items(), name
    # Every volume is mounted, and every mount is a volume.
    assert {v["name"] for v in pod["volumes"]} == {m["name"] for m in container["volumeMounts"]}, name
    return container["args"], labels


def check_services(documents, deployments):
    """Each service leads to the pods of one deployment."""
    for name, component in (("client-gateway", "gateway"), ("payments-webhook", "webhook")):
        selector = kind(documents, "Service")[name]["spec"]["selector"]
        (target,) = [args for args, labels in deployments.values() if selector.items() <= labels.items()]
        only = [arg for arg in target if arg.startswith("--only=")]
        assert not only or component in only[0].removeprefix("--only=").split(","), (name, target)
    ingresses = kind(documents, "Ingress")
    assert set(ingresses) == {"client-gateway", "payments-webhook"}
    for name, ingress in ingresses.items():
        (rule,) = ingress["spec"]["rules"]
        (path,) = rule["http"]["paths"]
        assert path["backend"]["service"]["name"] == name, name
        assert "/payments/webhook".startswith(path["path"].rstrip("/")), name


one, with_database, split = (objects(path) for path in sys.argv[1:])
deployments = kind(one, "Deployment")
assert set(deployments) == {"client-gateway"}
assert deployments["client-gateway"]["spec"]["strategy"] == {"type": "Recreate"}
assert "imagePullSecrets" not in deployments["client-gateway"]["spec"]["template"]["spec"]
check_services(one, {name: check_pod(deployment, False) for name, deployment in deployments.items()})
for deployment in kind(with_database, "Deployment").values():
    args, _ = check_pod(deployment, True)
    assert args[-2:] == ["--admin=0.0.0.0:3001", "--admin-insecure"], args
    pod = deployment["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "registry-login"}, {"name": "other-login"}], pod
    (container,) = pod["containers"]
    assert {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"} in container["env"], container["env"]
claim = kind(one, "PersistentVolumeClaim")["souk-state"]
assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"

deployments = kind(split, "Deployment")
assert set(deployments) == {"client-gateway", "products-ms", "payments-ms"}
assert all(deployment["spec"]["replicas"] == 2 for deployment in deployments.values())
check_services(split, {name: check_pod(deployment, True) for name, deployment in deployments.items()})
assert not kind(split, "PersistentVolumeClaim")
config = kind(split, "ConfigMap")["souk-runtime-config"]["data"]["runtime-config.toml"]
assert 'servers = ["nats://nats:4222"]' in config and 'type = "nats"' in config, config
hosts = {name: ingress["spec"]["rules"][0]["host"] for name, ingress in kind(split, "Ingress").items()}
assert hosts == {"client-gateway": "shop.example.com", "payments-webhook": "pay.example.com"}, hosts
print(f"chart: {len(one)} objects in one pod's form, {len(split)} split")
