"""Every figure of a run, each defined in one place; see README.md of the package above."""
