"""The compiled part of the package: the CPU kernels, a plain shared library that Python loads at run time.

Without a compiler, or on another processor, the installation goes through and the kernels are just not there.
"""

import platform
from glob import glob

from setuptools import Extension, setup

SOURCES = "penstock/kernels/csrc"

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

setup(ext_modules=[kernels] if platform.machine() in ("x86_64", "AMD64") else [])
