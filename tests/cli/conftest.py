"""A server on a socket that answers completions and chats with one letter per token."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply(200, "application/json", json.dumps({"data": [{"id": "tiny", "vocab_size": 40}]}))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        self.server.headers.append(dict(self.headers))
        if self.server.refuse:
            return self.reply(400, "application/json", json.dumps({"error": {"message": self.server.refuse}}))
        count = body.get("max_tokens", 4)
        chat = self.path.endswith("chat/completions")
        pieces = [{"delta": {"content": "x"}} if chat else {"text": "x"} for _ in range(count)]
        events = [{"choices": [piece | {"finish_reason": None}]} for piece in pieces]
        prompt = len(body.get("prompt", "12345"))
        events.append({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": count}})
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        return self.reply(200, "text/event-stream", text)

    def reply(self, status, kind, text):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.bodies, http.headers, http.refuse = [], [], ""
        http.url = f"http://127.0.0.1:{http.server_port}"
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield http
        http.shutdown()
