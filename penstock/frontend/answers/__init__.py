"""What an answer says beyond its text: reasoning, tool calls, and the parsers that find them."""
