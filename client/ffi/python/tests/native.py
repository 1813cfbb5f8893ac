"""Puts a library that cargo built in the place of the one that a wheel brings: `STRONGROOM_LIBRARY` names it."""
import os
import pathlib
import sys
import types

HEADER = pathlib.Path(__file__).parents[2] / "include" / "strongroom.h"


def declarations():
    """What the header declares, without what only a C compiler understands."""
    text = HEADER.read_text()
    text = text[text.index("typedef"):text.rindex("#ifdef __cplusplus")]
    return text


def install():
    library = os.environ.get("STRONGROOM_LIBRARY")
    if not library:
        # A wheel is installed.
        return
    import cffi
    sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "src"))
    native = types.ModuleType("strongroom._native")
    native.ffi = cffi.FFI()
    native.ffi.cdef(declarations())
    native.lib = native.ffi.dlopen(library)
    sys.modules["strongroom._native"] = native


install()
