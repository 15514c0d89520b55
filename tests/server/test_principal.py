"""Who asks: where it is left and found, and what only administrators may do."""

import pytest
from starlette.requests import Request

from penstock.server.errors import APIError
from penstock.server.principal import ANONYMOUS, Principal, principal_of, put_principal, require_admin


def request(principal=None):
    scope = {"type": "http", "headers": []}
    if principal is not None:
        put_principal(scope, principal)
    return Request(scope)


def test_nobody_is_anonymous_and_no_administrator():
    assert principal_of(request()) is ANONYMOUS
    with pytest.raises(APIError) as caught:
        require_admin(request())
    assert caught.value.status == 403 and "--admin-api-key" in caught.value.message


def test_a_principal_is_found_where_it_was_left():
    someone = Principal(name="ops", admin=True)
    assert principal_of(request(someone)) is someone
    require_admin(request(someone))
