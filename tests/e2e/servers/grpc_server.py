"""A real gRPC server (grpcio) with grpc.health.v1.Health on 127.0.0.1:50051. The services "" and "app" are SERVING,
"sick" is NOT_SERVING, others are NOT_FOUND. grpcio-health-checking is no package of Debian 12; its two messages are
one field each, so the handler reads and writes their bytes."""

import concurrent.futures

import grpc

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


def check(request, context):
    name = request[2:].decode() if request else ""
    if name in ("", "app"):
        return SERVING
    if name == "sick":
        return NOT_SERVING
    context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")


handler = grpc.method_handlers_generic_handler(
    "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)})
server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((handler,))
server.add_insecure_port("127.0.0.1:50051")
server.start()
print("listening", flush=True)
server.wait_for_termination()
