"""Policies: small answers to narrow questions.

Importing the package imports every module in the slots' folders, and importing a policy's module
registers it: adding a policy means adding one file.
"""

from importlib import import_module
from pkgutil import walk_packages

for _module in walk_packages(__path__, prefix=f"{__name__}."):
    import_module(_module.name)
