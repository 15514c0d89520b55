// Compile the rest of a file for an instruction set that the rest of the library does without. Standard headers
// come first: what they define inline must not be compiled for it, or it could be linked into other files.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#define PS_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define PS_TARGET(isa) PS_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define PS_TARGET_END _Pragma("clang attribute pop")
#else
#define PS_TARGET(isa) _Pragma("GCC push_options") PS_PRAGMA(GCC target(isa))
#define PS_TARGET_END _Pragma("GCC pop_options")
#endif
