"""The CPU kernels of `penstock/kernels/csrc` behind the protocols of `penstock.kernels`."""
