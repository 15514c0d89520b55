"""Anthropic's messages: from blocks to a chat and back, streamed and counted."""
