"""The users over gRPC."""

import os
from concurrent import futures

import grpc

import user_pb2
import user_pb2_grpc

PORT = int(os.environ.get("PORT", "50051"))

USERS = {
    1: user_pb2.User(id=1, name="Alice", email="alice@example.com"),
    2: user_pb2.User(id=2, name="Bob", email="bob@example.com"),
}


class UserService(user_pb2_grpc.UserServiceServicer):
    def GetUser(self, request, context):
        if request.user_id not in USERS:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no user {request.user_id}")
        return USERS[request.user_id]


if __name__ == "__main__":
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=10))
    user_pb2_grpc.add_UserServiceServicer_to_server(UserService(), server)
    server.add_insecure_port(f"127.0.0.1:{PORT}")
    server.start()
    print(f"serving gRPC on 127.0.0.1:{PORT}", flush=True)
    server.wait_for_termination()
