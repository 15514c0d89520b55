"""OpenAI's responses: from items to a chat and back, streamed, stored, in the background."""
