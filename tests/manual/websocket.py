"""Opens the control channel as another machine does, and prints the answer to one request: HOST PATH TOKEN."""

import socket
import ssl
import sys

host, path, token = sys.argv[1:]
raw = socket.create_connection((host, 443), timeout=20, source_address=("203.0.113.9", 0))
channel = ssl.create_default_context(cafile="/etc/rtlogd/ca.pem").wrap_socket(raw, server_hostname=host)
lines = [
    f"GET {path} HTTP/1.1",
    f"Host: {host}",
    f"Authorization: Bearer {token}",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol: rtlogd.v1",
]
channel.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
stream = channel.makefile("rb")
status = stream.readline()
if b" 101 " not in status:
    sys.exit(f"no WebSocket: {status}")
while stream.readline() not in (b"\r\n", b""):
    pass
request = b'{"jsonrpc":"2.0","id":1,"method":"streams.list"}'
# A text frame, whole and masked with zeros (RFC 6455, section 5.2).
channel.sendall(bytes([0x81, 0x80 | len(request), 0, 0, 0, 0]) + request)
size = stream.read(2)[1]
if size == 126:
    size = int.from_bytes(stream.read(2), "big")
print(stream.read(size).decode())
