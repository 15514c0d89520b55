"""Installing the package and starting it where the compiled kernels, or the best of them, cannot be had."""
