"""From text to token requests and back. See README.md in this folder."""
