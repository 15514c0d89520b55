"""The ways in which clients ask for structured output: OpenAI's, vLLM's (two generations), SGLang's."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from penstock.core.errors import InvalidRequest
from penstock.server.schemas.base import Body

Schema = dict[str, Any] | str
"""A JSON schema, as an object or as its text."""
Text = Annotated[str, Field(min_length=1, max_length=512 * 1024)]
Choices = Annotated[list[str], Field(min_length=1, max_length=4096)]


class JsonSchemaFields(Body):
    """``response_format.json_schema``."""

    name: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    description: str | None = None
    of: dict[str, Any] | bool | None = Field(
        None, alias="schema", description="The schema; absent is any JSON"
    )
    strict: bool | None = Field(
        None, description="false lets objects hold properties that the schema does not name"
    )


class ResponseFormat(Body):
    """OpenAI's ``response_format``, and xgrammar's structural tags in it."""

    type: Literal["text", "json_object", "json_schema", "structural_tag"]
    json_schema: JsonSchemaFields | None = None
    format: dict[str, Any] | None = Field(None, description="Of a structural tag")
    structures: list[dict[str, Any]] | None = Field(None, description="Of a structural tag of the older form")
    triggers: list[str] | None = Field(None, description="Of a structural tag of the older form")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise InvalidRequest("response_format.json_schema", "is required with the type json_schema")
        if self.type == "structural_tag" and self.format is None and self.structures is None:
            raise InvalidRequest("response_format.format", "is required with the type structural_tag")
        return self


class StructuredOutputsFields(Body):
    """vLLM's ``structured_outputs``: exactly one member."""

    json_: Schema | None = Field(None, alias="json", description="A JSON schema")
    regex: Text | None = None
    choice: Choices | None = None
    grammar: Text | None = Field(None, description="EBNF")
    json_object: bool | None = None
    structural_tag: Schema | None = None


class StructuredFields(Body):
    """Fields of a body; at most one of them may be given."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputsFields | None = Field(None, description="As in vLLM")
    guided_json: Schema | None = Field(None, description="Older name of structured_outputs.json")
    guided_regex: Text | None = Field(None, description="Older name of structured_outputs.regex")
    guided_choice: Choices | None = Field(None, description="Older name of structured_outputs.choice")
    guided_grammar: Text | None = Field(None, description="Older name of structured_outputs.grammar")
    json_schema: Schema | None = Field(None, description="A JSON schema, as in SGLang")
    regex: Text | None = Field(None, description="As in SGLang")
    ebnf: Text | None = Field(None, description="As in SGLang")
    structural_tag: Schema | None = Field(None, description="As in SGLang")
