"""Where the server listens: an address or a Unix socket, and TLS on it."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import stat
from typing import Any

from penstock.config.settings import ServerConfig
from penstock.core.errors import ConfigError


def bind(host: str, port: int) -> socket.socket:
    """Return a bound socket that does not listen yet, so that a taken port is known before the model loads.

    Raises:
        ConfigError: the address cannot be used.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, proto)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as exc:
        raise ConfigError("server.port", f"cannot listen on {host}:{port}: {exc.strerror or exc}") from exc
    sock.setblocking(False)
    return sock


def bind_unix(path: str) -> socket.socket:
    """Return a socket bound to a path that owner and group may use; what a dead server left there goes.

    Raises:
        ConfigError: the path cannot be used, or another server listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        sock.bind(path)
        os.chmod(path, 0o660)
    except OSError as exc:
        sock.close()
        raise ConfigError("server.uds", f"cannot listen on {path}: {exc.strerror or exc}") from exc
    sock.setblocking(False)
    return sock


def _clear(path: str) -> None:
    """Remove a socket that nobody listens on. Raises OSError if somebody does, or it is no socket."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError("there is a file of that name")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError("another server listens there")


def open_socket(server: ServerConfig) -> socket.socket:
    """Return the bound socket that the settings ask for. Raises ConfigError as the two above."""
    return bind_unix(server.uds) if server.uds else bind(server.host, server.port)


def close_socket(sock: socket.socket, server: ServerConfig) -> None:
    """Close it, and remove its path if it has one."""
    sock.close()
    if server.uds:
        with contextlib.suppress(OSError):
            os.unlink(server.uds)


def tls_settings(server: ServerConfig) -> dict[str, Any]:
    """Return keyword arguments for `uvicorn.Config`; none without a certificate.

    The files are tried here, so that a wrong one is known before the model loads.

    Raises:
        ConfigError: names the setting.
    """
    if not server.ssl_certfile:
        for name in ("ssl_keyfile", "ssl_ca_certs"):
            if getattr(server, name):
                raise ConfigError(f"server.{name}", "needs server.ssl_certfile, the server's own certificate")
        return {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_certificate(context, server)
    if server.ssl_ca_certs:
        try:
            context.load_verify_locations(server.ssl_ca_certs)
        except OSError as exc:
            raise ConfigError("server.ssl_ca_certs", f"cannot use {server.ssl_ca_certs}: {exc}") from None
    return {
        "ssl_certfile": server.ssl_certfile,
        "ssl_keyfile": server.ssl_keyfile or None,
        "ssl_ca_certs": server.ssl_ca_certs or None,
        "ssl_cert_reqs": ssl.CERT_REQUIRED if server.ssl_ca_certs else ssl.CERT_NONE,
    }


def load_certificate(context: ssl.SSLContext, server: ServerConfig) -> None:
    """Let new connections have the certificate that the files hold now.

    Raises:
        ConfigError: certificate or key cannot be used.
    """
    files = " and ".join(name for name in (server.ssl_certfile, server.ssl_keyfile) if name)
    try:
        context.load_cert_chain(server.ssl_certfile, server.ssl_keyfile or None, password="")
    except OSError as exc:  # ssl.SSLError is one
        raise ConfigError("server.ssl_certfile", f"cannot use {files}: {exc}") from None
