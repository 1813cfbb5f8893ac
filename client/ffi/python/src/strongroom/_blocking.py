"""The client that blocks."""
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Union

from ._core import Bytes, Parts, change_pin, outcome, recover, register, repair
from ._types import Attempts, Progress, Repair, Status, named

# How long a call is in the library at a time: as long as it takes to notice that the user pressed Ctrl-C.
LOOK_MS = 200

Tokens = Union[Mapping[str, str], Callable[[str], Optional[str]]]


class Client:
    """Registers, recovers and deletes one user's secret at the realms of a configuration.

    `tokens` are one for each realm by its id (32 hexadecimal digits, lower case), or a function that is given an id and returns a
    token, or None. It is called for every request, on the thread that called the operation. What it raises, the operation raises.
    """

    def __init__(self, configuration: str, tokens: Tokens, *, previous: Sequence[str] = (),
                 on_progress: Optional[Callable[[Progress], None]] = None, allow_http: bool = False,
                 root_certificates: Optional[str] = None, patience: Optional[float] = None) -> None:
        self._parts = Parts(configuration, previous, allow_http, root_certificates, patience)
        self._tokens = tokens if callable(tokens) else dict(tokens).get
        self._on_progress = on_progress

    def register(self, pin: Bytes, secret: Bytes, *, num_guesses: int, user_info: Bytes = b"") -> None:
        """Keeps `secret`, at most 128 bytes, under `pin`, for at most `num_guesses` wrong PINs in a row. Replaces what was there."""
        self._run(register(num_guesses, user_info), pin, secret)

    def recover(self, pin: Bytes, *, user_info: Bytes = b"") -> bytes:
        """The secret. A wrong PIN costs a guess; the right one gives all guesses back."""
        secret: bytes = self._run(recover(user_info), pin)
        return secret

    def change_pin(self, old: Bytes, new: Bytes, *, user_info: Bytes = b"") -> None:
        """Puts the secret under another PIN, whole or not at all: whatever interrupts it, the old PIN or the new one opens the secret.

        A wrong old PIN costs a guess. The number of guesses stays.
        """
        self._run(change_pin(user_info), old, new)

    def repair(self, pin: Bytes, *, user_info: Bytes = b"") -> Repair:
        """Makes whole what an interrupted change of the PIN, or a realm that missed a registration, has left. A wrong PIN costs a guess."""
        repaired: Repair = self._run(repair(user_info), pin)
        return repaired

    def status(self) -> Status:
        """What the realms say is registered. Costs no guess, and does not fail."""
        status: Status = self._run({"operation": "status"})
        return status

    def attempts(self) -> Attempts:
        """Which requests on the user's record counted, such as tries of the PIN. Costs no guess, and does not fail."""
        attempts: Attempts = self._run({"operation": "attempts"})
        return attempts

    def delete(self) -> None:
        """Has every realm of the configuration forget the user. Succeeds where there is nothing."""
        self._run({"operation": "delete"})

    def close(self) -> None:
        """Waits for what earlier operations left under way."""
        self._run({"operation": "close"})

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._parts!r})"

    def _run(self, request: Dict[str, Any], pin: Bytes = b"", secret: Bytes = b"") -> Any:
        call = self._parts.begin(request, pin, secret)
        try:
            while True:
                told = call.next(LOOK_MS)
                if told is None:
                    continue
                if "token" in told:
                    self._give(call, **told["token"])
                elif "progress" in told:
                    if self._on_progress:
                        self._on_progress(named(Progress, told["progress"]))
                else:
                    return outcome(told)
        finally:
            # Ends the operation, if a callback or Ctrl-C got us here.
            call.cancel()

    def _give(self, call: Any, number: int, realm: str) -> None:
        token = None
        try:
            token = self._tokens(realm)
        finally:
            call.give(number, token)
