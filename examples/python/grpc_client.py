"""Asks for a user over gRPC, through the gateway."""

import os
import sys

import grpc

import user_pb2
import user_pb2_grpc

GATEWAY = os.environ.get("GATEWAY", "http://127.0.0.1:8080").removeprefix("http://")

user_id = int(sys.argv[1]) if len(sys.argv) > 1 else 1

with grpc.insecure_channel(GATEWAY) as channel:
    stub = user_pb2_grpc.UserServiceStub(channel)
    try:
        user = stub.GetUser(user_pb2.GetUserRequest(user_id=user_id), timeout=10)
        print(f"{user.id} {user.name} {user.email}")
    except grpc.RpcError as error:
        print(f"{error.code().name}: {error.details()}")
        sys.exit(1)
