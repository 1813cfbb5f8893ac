"""Keeps a secret under a short PIN in several realms, which destroy it after a set number of wrong guesses.

`Client` blocks, and lets other threads run meanwhile; `AsyncClient` is the same for asyncio. All that decides is in the SDK, which
is in Rust: here is only its shape in Python.
"""
from ._asyncio import AsyncClient
from ._blocking import Client
from ._core import PinHelp
from ._types import (AttemptList, Attempts, Cancelled, Cause, CommonPin, ConfigurationError, Counted, CountedRequest, ErrorKind,
                     Mended, Operation, PinOddity, Progress, RealmAttempts, RealmCause, RealmRepair, RealmStatus, Registration,
                     Repair, Status, StrongroomError, Summary)

__all__ = ["AsyncClient", "AttemptList", "Attempts", "Cancelled", "Cause", "Client", "CommonPin", "ConfigurationError",
           "Counted", "CountedRequest", "ErrorKind", "Mended", "Operation", "PinHelp", "PinOddity", "Progress", "RealmAttempts",
           "RealmCause", "RealmRepair", "RealmStatus", "Registration", "Repair", "Status", "StrongroomError", "Summary"]
