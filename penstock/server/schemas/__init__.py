"""Request bodies (pydantic, validated strictly) and replies (msgspec, encoded fast)."""
