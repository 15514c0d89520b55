"""Calls of the kernels on memory that ends exactly where their data does, beside pages that nobody may touch.

A read or write one element too far ends the process, with or without sanitizers. Run by ``test_bounds.py``,
by ``make sanitize``, and by hand:

    python -m tests.kernels_native.bounds --rounds 500 --only linear

A new kernel needs a case here: a function that draws sizes, places its arguments and calls, under the
decorator `case` with the names of the C functions that it covers, in a module that ``__main__.py`` imports.
"""
