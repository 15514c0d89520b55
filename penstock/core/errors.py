"""Exceptions that cross package borders. Each names the field at fault and what was expected of it."""


class PenstockError(Exception):
    """Base of every error that Penstock raises on purpose; its text is fit to be shown to a user."""


class FieldError(PenstockError):
    """A value was refused.

    Args:
        field: dotted name of the field at fault, as the user spelt it (``sampling.top_p``).
        message: what was expected and what came, in one sentence.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class InvalidRequest(FieldError):
    """A request that can never run as sent (HTTP 400)."""


class ConfigError(FieldError):
    """A start-up setting, model folder or checkpoint that cannot be used; the process should not start."""


class Overloaded(PenstockError):
    """The admit policy turned the request away (HTTP 503 or 429).

    Args:
        reason: what was full.
        retry_after: seconds after which a retry may succeed, or None if unknown.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class StepFault(PenstockError):
    """An executor could not run a whole step; the engine retries its sequences one by one."""
