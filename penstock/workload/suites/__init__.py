"""Named workloads; importing a module registers its own, so adding one means adding a function."""
