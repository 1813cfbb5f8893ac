"""The library's functions, with what they own freed when Python lets go of it."""
import json
import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence, Union

from ._native import ffi, lib
from ._types import Attempts, Cancelled, CommonPin, ConfigurationError, PinOddity, Repair, Status, StrongroomError, named

ABI = 2
Bytes = Union[str, bytes, bytearray, memoryview]


def as_bytes(value: Bytes) -> Any:
    """Bytes as they are; a text as UTF-8. Nothing is trimmed or normalised."""
    return value.encode() if isinstance(value, str) else value


def read_token(token: Optional[str]) -> Optional[bytes]:
    return None if token is None else token.encode()


def check_version() -> None:
    if lib.strongroom_abi_version() != ABI:
        raise ImportError("the library is of another version than this package: install the package anew")


def read_reply(reply: Any) -> Dict[str, Any]:
    """What a reply says, with the bytes that it brings under "bytes". Frees it, which wipes them there."""
    try:
        told: Dict[str, Any] = json.loads(ffi.string(lib.strongroom_reply_text(reply)))
        length = lib.strongroom_reply_secret_length(reply)
        told["bytes"] = bytes(ffi.buffer(lib.strongroom_reply_secret(reply), length)) if length else b""
        return told
    finally:
        lib.strongroom_reply_free(reply)


@dataclass(frozen=True)
class PinHelp:
    """What can be said of a PIN that a user typed. Only facts: nothing refuses a PIN because of them."""

    # What to register and to recover with: the text in Unicode's form NFC, without its line end.
    pin: bytes = field(repr=False)
    # Why many others would choose it, if they would: for a PIN that is chosen.
    common: Optional[CommonPin]
    # What the user may not have meant: for one that is asked for as well.
    oddities: List[PinOddity]

    @classmethod
    def of(cls, typed: str) -> "PinHelp":
        """Looks at what a user typed."""
        check_version()
        text = typed.encode()
        told = read_reply(lib.strongroom_pin_help(ffi.from_buffer("uint8_t[]", text), len(text)))
        common = told["common"]
        return cls(told["bytes"], common and named(CommonPin, common), [named(PinOddity, oddity) for oddity in told["oddities"]])


class Parts:
    """A client of the library."""

    def __init__(self, configuration: str, previous: Sequence[str], allow_http: bool, root_certificates: Optional[str],
                 patience: Optional[float]) -> None:
        check_version()
        options: Dict[str, Any] = {"configuration": configuration, "previous": list(previous), "allowHttp": allow_http}
        if root_certificates is not None:
            options["rootCertificates"] = root_certificates
        if patience is not None:
            options["patienceMs"] = round(patience * 1000)
        self.process = os.getpid()
        self.client = ffi.gc(lib.strongroom_client_new(json.dumps(options).encode()), lib.strongroom_client_free)
        refusal = lib.strongroom_client_refusal(self.client)
        if refusal != ffi.NULL:
            raise ConfigurationError(json.loads(ffi.string(refusal))["refused"])
        self.configuration = configuration

    def begin(self, request: Dict[str, Any], pin: Bytes = b"", secret: Bytes = b"") -> "Call":
        if os.getpid() != self.process:
            raise RuntimeError("this client was made before the process was forked: make one after it")
        pin, secret = as_bytes(pin), as_bytes(secret)
        call = lib.strongroom_call_begin(self.client, json.dumps(request).encode(), ffi.from_buffer("uint8_t[]", pin), len(pin),
                                         ffi.from_buffer("uint8_t[]", secret), len(secret))
        return Call(call)

    def __repr__(self) -> str:
        realms: List[str] = [realm["id"] for realm in json.loads(self.configuration.lstrip("\ufeff"))["realms"]]
        return f"realms={realms!r}"


class Call:
    """An operation under way."""

    def __init__(self, call: Any) -> None:
        self.call = ffi.gc(call, lib.strongroom_call_free)

    def next(self, timeout_ms: int) -> Optional[Dict[str, Any]]:
        """What comes next, with the bytes of a secret in place of true; None if nothing comes in time."""
        reply = lib.strongroom_call_next(self.call, timeout_ms)
        if reply == ffi.NULL:
            return None
        told = read_reply(reply)
        if told.get("secret"):
            told["secret"] = told["bytes"]
        return told

    def give(self, number: int, token: Optional[str]) -> None:
        given = read_token(token)
        if given is None:
            lib.strongroom_call_give_token(self.call, number, ffi.NULL, 0)
        else:
            lib.strongroom_call_give_token(self.call, number, ffi.from_buffer("uint8_t[]", given), len(given))

    def cancel(self) -> None:
        lib.strongroom_call_cancel(self.call)


def outcome(told: Dict[str, Any]) -> Any:
    """What the last reply of a call means."""
    if "error" in told:
        raise StrongroomError._read(told["error"])
    if "cancelled" in told:
        raise Cancelled("given up: what was sent may still happen, and a recovery may have cost a guess")
    if "refused" in told:
        raise ValueError(told["refused"])
    if "status" in told:
        return Status._read(told)
    if "attempts" in told:
        return Attempts._read(told)
    if "repair" in told:
        return Repair._read(told)
    return told.get("secret")


def register(num_guesses: int, user_info: Bytes) -> Dict[str, Any]:
    if not 1 <= num_guesses <= 255:
        raise ValueError("num_guesses must be 1 to 255")
    return {"operation": "register", "numGuesses": num_guesses, "userInfo": bytes(as_bytes(user_info)).hex()}


def recover(user_info: Bytes) -> Dict[str, Any]:
    return {"operation": "recover", "userInfo": bytes(as_bytes(user_info)).hex()}


def change_pin(user_info: Bytes) -> Dict[str, Any]:
    return {"operation": "changePin", "userInfo": bytes(as_bytes(user_info)).hex()}


def repair(user_info: Bytes) -> Dict[str, Any]:
    return {"operation": "repair", "userInfo": bytes(as_bytes(user_info)).hex()}
