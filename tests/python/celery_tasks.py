"""A Celery application, its worker, and what is asked of it.

Usage: celery_tasks.py PORT; the worker is `celery -A celery_tasks worker`, with PORT in the environment.
"""

import os
import sys

from celery import Celery, group

PORT = os.environ.get("PORT") or sys.argv[1]
app = Celery("celery_tasks", broker=f"amqp://guest:guest@127.0.0.1:{PORT}//", backend="rpc://")


@app.task(name="add")
def add(left, right):
    return left + right


if __name__ == "__main__":
    assert add.delay(2, 3).get(timeout=30) == 5
    results = group(add.s(number, 1) for number in range(50))()
    assert sum(results.get(timeout=30)) == 1275
    assert add.apply_async((1, 1), countdown=1).get(timeout=30) == 2
    assert app.control.ping(timeout=10), "the worker answers nothing"
    print("ok")
