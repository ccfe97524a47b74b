"""The server of echo.proto: `echo_server.py PORT`."""

import sys
import threading
from concurrent import futures

import grpc

import echo_pb2
import echo_pb2_grpc

CODES = {code.value[0]: code for code in grpc.StatusCode}


class Echo(echo_pb2_grpc.EchoServicer):
    def __init__(self):
        self.waiting = 0
        self.abandoned = 0

    def Unary(self, request, context):
        sent = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-initial", sent.get("x-caller", "")),))
        context.set_trailing_metadata(
            (("x-trailing", sent.get("x-caller", "")), ("x-bytes-bin", sent.get("x-bytes-bin", b"")))
        )
        left = context.time_remaining()
        return echo_pb2.Said(
            text=request.text,
            filler=request.filler,
            seconds_left=-1 if left is None else left,
        )

    def Collect(self, requests, context):
        texts = [request.text for request in requests]
        context.set_trailing_metadata((("x-trailing", str(len(texts))),))
        return echo_pb2.Said(text=",".join(texts), count=len(texts))

    def Expand(self, request, context):
        for number in range(request.times):
            yield echo_pb2.Said(text=request.text, count=number, filler=request.filler)
        context.set_trailing_metadata((("x-trailing", str(request.times)),))

    def Converse(self, requests, context):
        for number, request in enumerate(requests):
            yield echo_pb2.Said(text=request.text, count=number)

    def Fail(self, request, context):
        for number in range(request.times):
            yield echo_pb2.Said(count=number)
        context.set_trailing_metadata((("x-trailing", "failed"), ("x-bytes-bin", b"\x00\xff")))
        context.abort(CODES[request.code], request.details)

    def Wait(self, request, context):
        gone = threading.Event()
        context.add_callback(gone.set)
        self.waiting += 1
        gone.wait(60)
        self.abandoned += 1
        return echo_pb2.Said()

    def Abandoned(self, request, context):
        return echo_pb2.Said(count=self.abandoned, text=str(self.waiting))


if __name__ == "__main__":
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    echo_pb2_grpc.add_EchoServicer_to_server(Echo(), server)
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    print("serving", flush=True)
    server.wait_for_termination()
