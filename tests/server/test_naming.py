"""Errors about a chat are told in the words of who asked."""

import pytest

from penstock.core.errors import InvalidRequest
from penstock.server.errors import APIError
from penstock.server.naming import named_as
from penstock.server.responses.translate import NAMES
from penstock.server.schemas.chat import ChatRequest


def renamed(failure):
    with pytest.raises(APIError) as caught, named_as(NAMES):
        raise failure
    return caught.value


@pytest.mark.parametrize(
    ("field", "param"),
    [
        ("messages[3].content", "input"),
        ("messages", "input"),
        ("max_tokens", "max_output_tokens"),
        ("response_format.json_schema.schema", "text.format.schema"),
        ("response_format", "text.format"),
        ("temperature", "temperature"),
        ("messages_of_mine", "messages_of_mine"),
    ],
)
def test_fields_have_the_clients_names(field, param):
    error = renamed(InvalidRequest(field, "is wrong"))
    assert (error.status, error.param, error.message) == (400, param, f"{param}: is wrong")


def test_codes_waits_and_other_errors_are_kept():
    assert renamed(InvalidRequest("messages", "exceeds the context")).code == "context_length_exceeded"
    late = APIError(429, "later", param="max_tokens", retry_after=3.0, headers={"a": "b"})
    assert (renamed(late).retry_after, renamed(late).headers) == (3.0, {"a": "b"})
    with pytest.raises(RuntimeError), named_as(NAMES):
        raise RuntimeError


def test_validation_errors_of_the_chat():
    with pytest.raises(APIError) as caught, named_as(NAMES):
        ChatRequest.model_validate({"messages": [{"role": "user"}], "max_tokens": -1})
    assert caught.value.param == "max_output_tokens"
