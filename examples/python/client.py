"""Posts a user and reads it back, both through the gateway."""

import os

import requests

GATEWAY = os.environ.get("GATEWAY", "http://127.0.0.1:8080")

answer = requests.post(
    f"{GATEWAY}/api/v1/users",
    json={"name": "Alice", "email": "alice@example.com"},
    timeout=10,
)
answer.raise_for_status()
posted = answer.json()
print("posted:", posted)

answer = requests.get(f"{GATEWAY}/user/{posted['id']}", timeout=10)
answer.raise_for_status()
print("read:  ", answer.json())
assert answer.json() == posted

answer = requests.get(f"{GATEWAY}/api/greet", params={"name": posted["name"]}, timeout=10)
print(answer.json()["message"])
