"""The sample shop's users over gRPC: `shop_calls.py ADDRESS HOW_MANY_WERE_ADDED`."""

import sys

import grpc

import users_pb2
import users_pb2_grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    stub = users_pb2_grpc.UserServiceStub(channel)
    user = stub.GetUser(users_pb2.GetUserRequest(id=1), timeout=20)
    assert (user.id, user.name, user.email) == (1, "Alice", "alice@shop.example"), user

    try:
        stub.GetUser(users_pb2.GetUserRequest(id=999), timeout=20)
        raise AssertionError("an unknown user was found")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        assert error.details() == "there is no user 999", error

    listed = stub.ListUsers(users_pb2.ListUsersRequest(), timeout=20)
    # More than the shop reads from its database at a time.
    assert len([user.id for user in listed]) == 3 + int(sys.argv[2])
print("ok")
