"""The `penstock` command; see README.md in this folder."""
