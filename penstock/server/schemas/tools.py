"""Tools in a chat body: what may be called, whether it must be, and the calls of earlier turns."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from penstock.server.schemas.base import Body

ToolName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.\-]{0,127}$")]
"""What every form of calls can spell."""


class Function(Body):
    """A function that the model may call."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = Field(None, description="JSON Schema of the arguments object")
    strict: bool | None = Field(
        None, description="false leaves open what JSON Schema leaves open; otherwise objects are closed"
    )


class Tool(Body):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: Function

    def for_template(self) -> dict[str, Any]:
        """Return the tool as chat templates expect it: some fail without a description or parameters."""
        function = self.function
        told = {
            "name": function.name,
            "description": function.description or "",
            "parameters": function.parameters or {"type": "object", "properties": {}},
        }
        return {"type": "function", "function": told}


class FunctionName(Body):
    """A function by its name."""

    name: Annotated[str, Field(min_length=1, max_length=256)]


class NamedTool(Body):
    """Call this tool."""

    type: Literal["function"]
    function: FunctionName


class AllowedToolsChoice(Body):
    """Choose among these."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=1024)]


class AllowedTools(Body):
    """A narrower choice than the tools that are listed, which leaves the prompt as it is."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedToolsChoice


ToolChoice = Literal["none", "auto", "required"] | NamedTool | AllowedTools


class CalledFunction(Body):
    """Name and arguments of a call."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: str | dict[str, Any] = Field("", description="JSON text (or the object itself)")


class ToolCall(Body):
    """A call that the assistant made in an earlier turn."""

    id: Annotated[str, Field(max_length=256)] | None = None
    type: Literal["function"] = "function"
    function: CalledFunction
