"""Which keys are accepted now: those of the settings and those of the keys file, re-read when it changes."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from penstock.config.settings import ServerConfig
from penstock.core.errors import ConfigError
from penstock.server.keys import Held, KeyRing, digest, load_keys
from penstock.server.principal import ANONYMOUS, Principal

logger = logging.getLogger("penstock.server.keys")

POLL_SECONDS = 2.0
"""How often the keys file is looked at."""


class KeyStore:
    """Finds the principal of a key.

    A keys file that becomes unreadable or wrong changes nothing but the log: the last good one stays.

    Args:
        fixed: keys of the settings; they win over the file's.
        path: the keys file, if there is one; read at once.
        anonymous: who those are that bring no key; None refuses them.
        now: Unix seconds.

    Raises:
        ConfigError: the keys file cannot be used; names the line or the field.
    """

    def __init__(
        self,
        fixed: KeyRing | None = None,
        path: Path | None = None,
        anonymous: Principal | None = ANONYMOUS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.anonymous = anonymous
        self._fixed = dict(fixed or {})
        self._path = path
        self._now = now
        self._seen = _stamp(path) if path is not None else None
        self._ring = {**load_keys(path), **self._fixed} if path is not None else self._fixed
        self._follower: Callable[[set[str]], None] = lambda tenants: None

    def find(self, key: str) -> Principal | None:
        """Return whose key it is; None if it is unknown or has expired."""
        held = self._ring.get(digest(key))
        if held is None or (held.expires is not None and held.expires <= self._now()):
            return None
        return held.principal

    def follow(self, call: Callable[[set[str]], None]) -> None:
        """Tell the names of the tenants that have keys: now, and whenever other keys hold."""
        self._follower = call
        self._tell()

    def _tell(self) -> None:
        self._follower({held.principal.tenant for held in self._ring.values() if held.principal.tenant})

    def reload(self, force: bool = False) -> bool:
        """Read the keys file again if it has changed; True if other keys hold now. Blocks on the disk."""
        if self._path is None:
            return False
        stamp = _stamp(self._path)
        if stamp == self._seen and not force:
            return False
        self._seen = stamp
        try:
            found = load_keys(self._path)
        except ConfigError as error:
            logger.error("the keys file was not taken over, the old keys still hold: %s", error.message)
            return False
        self._ring = {**found, **self._fixed}
        self._tell()
        logger.info("the keys file was read again: %d keys", len(found))
        return True

    async def watch(self, seconds: float = POLL_SECONDS) -> None:
        """Reload whenever the file has changed, until cancelled; never blocks the event loop."""
        while self._path is not None:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.reload)


def key_store(config: ServerConfig) -> KeyStore:
    """Return the keys that the settings ask for.

    A server without any key is open. Whoever reaches it through the machine's own address or a local socket
    is an administrator too, unless an administrator's key was given; over a network nobody is.

    Raises:
        ConfigError: the keys file cannot be used.
    """
    fixed: dict[bytes, Held] = {}
    for number, key in enumerate(config.api_key, 1):
        fixed[digest(key)] = Held(Principal(name=f"api-key-{number}"))
    for number, key in enumerate(config.admin_api_key, 1):
        fixed[digest(key)] = Held(Principal(name=f"admin-{number}", admin=True))
    anonymous: Principal | None = None
    if not config.api_key and not config.keys:
        local = bool(config.uds) or is_loopback(config.host)
        anonymous = Principal(admin=local and not config.admin_api_key)
    return KeyStore(fixed, Path(config.keys) if config.keys else None, anonymous)


def is_loopback(host: str) -> bool:
    """Say whether an address to listen on can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file does; None while it cannot be looked at."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
