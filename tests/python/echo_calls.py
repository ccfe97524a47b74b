"""Calls of every kind through the gateway: `echo_calls.py ADDRESS KIND`.

Each function is one kind; it fails by an assertion and prints `ok` otherwise.
"""

import queue
import sys
import time
from concurrent import futures

import grpc

import echo_pb2
import echo_pb2_grpc


def unary(stub):
    metadata = (("x-caller", "me"), ("x-bytes-bin", b"\x00\x01\xfe\xff"))
    said, call = stub.Unary.with_call(echo_pb2.Say(text="hello"), metadata=metadata, timeout=20)
    assert said.text == "hello"
    # gRPC's core sends deadlines in two to three digits, rounded up: 20 s may become 20.1 s.
    assert 0 < said.seconds_left <= 20.5, said.seconds_left
    assert call.code() == grpc.StatusCode.OK
    assert dict(call.initial_metadata())["x-initial"] == "me"
    trailing = dict(call.trailing_metadata())
    assert trailing["x-trailing"] == "me", trailing
    assert trailing["x-bytes-bin"] == b"\x00\x01\xfe\xff", trailing


def large(stub):
    filler = bytes(range(256)) * 12 * 1024
    said = stub.Unary(echo_pb2.Say(filler=filler), timeout=20)
    assert said.filler == filler


def many_at_once(stub):
    def one(number):
        return stub.Unary(echo_pb2.Say(text=str(number)), timeout=20).text

    with futures.ThreadPoolExecutor(max_workers=32) as pool:
        assert list(pool.map(one, range(500))) == [str(number) for number in range(500)]


def client_streaming(stub):
    says = (echo_pb2.Say(text=str(number)) for number in range(100))
    said, call = stub.Collect.with_call(says, timeout=20)
    assert said.count == 100
    assert said.text == ",".join(str(number) for number in range(100))
    assert dict(call.trailing_metadata())["x-trailing"] == "100"


def server_streaming(stub):
    call = stub.Expand(echo_pb2.Say(text="x", times=1000, filler=b"y" * 1000), timeout=20)
    assert [said.count for said in call] == list(range(1000))
    assert call.code() == grpc.StatusCode.OK
    assert dict(call.trailing_metadata())["x-trailing"] == "1000"


def bidirectional(stub):
    # Each message is sent only once the last one is answered: nothing may be held back.
    says = queue.Queue()
    call = stub.Converse(iter(says.get, None), timeout=20)
    for number in range(50):
        says.put(echo_pb2.Say(text=f"message {number}"))
        said = next(call)
        assert (said.text, said.count) == (f"message {number}", number)
    says.put(None)
    assert next(call, None) is None
    assert call.code() == grpc.StatusCode.OK


def statuses(stub):
    for code in grpc.StatusCode:
        number = code.value[0]
        if code is grpc.StatusCode.OK:
            continue
        for times in (0, 3):
            details = f"ended with {code.name}: 100% – ünïcode\nand a line"
            call = stub.Fail(echo_pb2.Failure(code=number, details=details, times=times), timeout=20)
            seen = 0
            try:
                for _ in call:
                    seen += 1
                raise AssertionError(f"{code} did not come")
            except grpc.RpcError as error:
                assert (error.code(), error.details()) == (code, details), error
                trailing = dict(error.trailing_metadata())
                assert trailing["x-trailing"] == "failed", trailing
                assert trailing["x-bytes-bin"] == b"\x00\xff", trailing
            assert seen == times, (code, seen, times)


def unknown_method(stub):
    try:
        stub.Missing(echo_pb2.Say(), timeout=20)
        raise AssertionError("a method that is not there answered")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


def deadline(stub):
    began = time.monotonic()
    try:
        stub.Wait(echo_pb2.Say(), timeout=0.5)
        raise AssertionError("it answered")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert time.monotonic() - began < 20
    until(lambda: told(stub).count == 1, "the server to be told")


def cancellation(stub):
    call = stub.Wait.future(echo_pb2.Say())
    until(lambda: told(stub).text == "1", "the call to reach the server")
    call.cancel()
    until(lambda: told(stub).count == 1, "the server to be told")


def told(stub):
    return stub.Abandoned(echo_pb2.Say(), timeout=20)


def until(look, what):
    end = time.monotonic() + 20
    while not look():
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.02)


if __name__ == "__main__":
    address, kind = sys.argv[1:]
    options = (("grpc.max_receive_message_length", -1),)
    with grpc.insecure_channel(address, options=options) as channel:
        stub = echo_pb2_grpc.EchoStub(channel)
        stub.Missing = channel.unary_unary(
            "/interop.Echo/Missing",
            request_serializer=echo_pb2.Say.SerializeToString,
            response_deserializer=echo_pb2.Said.FromString,
        )
        globals()[kind](stub)
    print("ok")
