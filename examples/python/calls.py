"""Three short functions over Posthouse: be found, be called, choose for yourself."""

import itertools
import os

import requests

REGISTRY = os.environ.get("REGISTRY", "http://127.0.0.1:8500")
GATEWAY = os.environ.get("GATEWAY", "http://127.0.0.1:8080")

_turn = itertools.count()


def register_service(name, port, address="127.0.0.1"):
    """Make an instance known, with a health check. Returns its id, for deregister_service."""
    service_id = f"{name}-{port}"
    answer = requests.put(
        f"{REGISTRY}/v1/agent/service/register",
        json={
            "ID": service_id,
            "Name": name,
            "Address": address,
            "Port": port,
            "Check": {"HTTP": f"http://{address}:{port}/healthz", "Interval": "1s"},
        },
        timeout=5,
    )
    answer.raise_for_status()
    return service_id


def deregister_service(service_id):
    requests.put(f"{REGISTRY}/v1/agent/service/deregister/{service_id}", timeout=5)


def forward_request(service, path, method="GET", **options):
    """Call a service by its name; the gateway chooses the instance."""
    headers = {**options.pop("headers", {}), "Host": f"{service}.service.consul"}
    return requests.request(method, f"{GATEWAY}{path}", headers=headers, timeout=10, **options)


def distribute_request(service, path, method="GET", **options):
    """Call the healthy instances in turn, without the gateway."""
    answer = requests.get(f"{REGISTRY}/v1/health/service/{service}?passing", timeout=5)
    instances = [entry["Service"] for entry in answer.json()]
    if not instances:
        raise LookupError(f"no healthy instance of {service}")
    chosen = instances[next(_turn) % len(instances)]
    url = f"http://{chosen['Address']}:{chosen['Port']}{path}"
    return requests.request(method, url, timeout=10, **options)
