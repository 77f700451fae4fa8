"""Reads an event stream with PyPI `httpx-sse` up to the message that holds LAST, and prints what it saw as JSON.

python read.py URL LAST
"""
import json
import sys

import httpx
from httpx_sse import connect_sse

url, last = sys.argv[1:]
seen = []
with httpx.Client(timeout=60) as client, connect_sse(client, "GET", url) as source:
    for message in source.iter_sse():
        # The client also returns messages without data, which the standard does not dispatch.
        if not message.data and not message.id:
            continue
        event = "" if message.event == "message" else message.event
        seen.append({"event": event, "id": message.id, "data": message.data})
        if last in message.data:
            break
sys.stdout.buffer.write(json.dumps(seen).encode())
