"""The compiled part of the package: the CPU kernels, a plain shared library that Python loads at run time.

Without a compiler, or on another processor, the installation goes through and the kernels are just not there.
In their place lies the reason, which the start of the engine shows (`penstock/kernels/native/found.py`).
"""

import platform
import re
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = "penstock/kernels/csrc"
RECORD = "_kernels.missing"


class BuildKernels(build_ext):
    """Build the kernels, or leave a line that says why not, whatever went wrong."""

    def build_extension(self, ext: Extension) -> None:
        """Build; a library of older sources does not stay where this fails."""
        library = Path(self.get_ext_fullpath(ext.name))
        record = library.with_name(RECORD)
        record.unlink(missing_ok=True)
        try:
            super().build_extension(ext)
        except Exception as error:
            library.unlink(missing_ok=True)
            record.parent.mkdir(parents=True, exist_ok=True)
            why = re.sub(r"^\[Errno \d+\] ", "", " ".join(str(error).split())) or type(error).__name__
            record.write_text(f"{why}; `pip install --verbose` shows all\n", encoding="utf-8")
            self.warn(f"penstock goes without its CPU kernels: {why}")

    def copy_extensions_to_source(self) -> None:
        """Put the library or the reason into the source tree, for an editable installation; not both."""
        build_py = self.get_finalized_command("build_py")
        for ext in self.extensions:
            library = Path(self.build_lib, self.get_ext_filename(self.get_ext_fullname(ext.name)))
            folder = Path(build_py.get_package_dir(ext.name.rpartition(".")[0]))
            for built in (library, library.with_name(RECORD)):
                here = folder / built.name
                here.unlink(missing_ok=True)  # never overwritten: running processes may have it mapped
                if built.exists():
                    self.copy_file(str(built), str(here), level=self.verbose)


kernels = Extension(
    "penstock.kernels.native._kernels",
    sources=sorted(glob(f"{SOURCES}/*.cpp")),
    depends=sorted([*glob(f"{SOURCES}/*.h"), *glob(f"{SOURCES}/*.inl")]),
    include_dirs=[SOURCES],
    extra_compile_args=[
        "-std=c++17",
        "-O3",
        "-fno-math-errno",
        "-Wno-uninitialized",
        "-Wno-maybe-uninitialized",
    ],
    language="c++",
    optional=True,
)

setup(
    ext_modules=[kernels] if platform.machine() in ("x86_64", "AMD64") else [],
    cmdclass={"build_ext": BuildKernels},
)
