"""Checks what `docker-compose config` makes of a compose file: argv[1] names the form, argv[2] is the file."""
import sys

import yaml

form, path = sys.argv[1:]
services = yaml.safe_load(open(path))["services"]
souk = {name: service for name, service in services.items() if service["image"] == "souk-store"}
ALL = {"auth", "gateway", "orders", "passwords", "payments", "products", "stripe-sandbox", "webhook"}
NAMES = {
    "compose": {"client-gateway"},
    "launcher": {"client-gateway", "products-ms", "orders-ms", "payments-ms", "auth-ms", "nats-server", "orders-db"},
    "three-hosts": {"client-gateway", "products-ms", "payments-ms", "nats-server", "orders-db"},
}
assert set(services) == NAMES[form], set(services)

# The gateway's port and the webhook's, and no other.
ports = [port for service in services.values() for port in service.get("ports", [])]
published = sorted((port["published"], port["target"]) for port in ports)
assert published == [(3100, 3000), (3103, 3000)], published

# Each component runs once.
if form != "compose":
    runs = [name for service in souk.values() for name in service["command"][-1].split(",")]
    assert sorted(runs) == sorted(ALL), runs

for name, service in souk.items():
    # Payment pages lead back to the port that is published, and the launcher's `.env` has no URL.
    published_port = service["command"][service["command"].index("--published-port") + 1]
    assert published_port == "3100" and not service["environment"]["SPIN_VARIABLE_PUBLIC_URL"], name
    assert service["read_only"] and service["cap_drop"] == ["ALL"], name
    # Longer than the limit `drain`, 35 s.
    assert service["stop_grace_period"] == "45s", name
    environment = service["environment"]
    assert environment["SPIN_VARIABLE_JWT_SECRET"] == "j" and environment["SPIN_VARIABLE_STRIPE_ENDPOINT_SECRET"] == "w"
    # The launcher's ORDERS_DB_URL is the NestJS system's database.
    database = environment["SPIN_VARIABLE_ORDERS_DATABASE_URL"]
    own = database == "sqlite:orders" if form == "compose" else database == "postgres://postgres:p@orders-db:5432/ordersdb"
    assert own, (name, database)
print(f"compose {form}: {len(souk)} hosts")
