"""Reading a stream of named events."""

import json


def told(text):
    """Return (name, payload) of each event."""
    pairs = []
    for block in text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        pairs.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return pairs
