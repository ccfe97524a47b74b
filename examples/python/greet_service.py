"""A greeting."""

import atexit
import os
import signal
import sys

from flask import Flask, jsonify, request

from calls import deregister_service, register_service

PORT = int(os.environ.get("PORT", "5002"))

app = Flask(__name__)


@app.get("/api/greet")
def greet():
    name = request.args.get("name", "World")
    return jsonify(message=f"Hello, {name}!")


@app.get("/healthz")
def healthz():
    return "ok"


if __name__ == "__main__":
    service_id = register_service("greet-service", PORT)
    atexit.register(deregister_service, service_id)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app.run(port=PORT, threaded=True)
