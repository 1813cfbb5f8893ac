"""The client for asyncio."""
import asyncio
import inspect
from typing import Any, Awaitable, Callable, Dict, Mapping, Optional, Sequence, Set, Union

from ._core import Bytes, Call, Parts, change_pin, outcome, recover, register, repair
from ._types import Attempts, Progress, Repair, Status, named

# How long a thread of the loop's pool is in the library at a time.
LOOK_MS = 1000

Tokens = Union[Mapping[str, str], Callable[[str], Union[Optional[str], Awaitable[Optional[str]]]]]


class AsyncClient:
    """As `Client`, with operations to be awaited. `tokens` may be an async function; several realms are then asked for at once.

    To cancel the task cancels the operation: what it had sent may still happen, and a recovery may have cost a guess. Each operation
    under way holds one thread of the loop's pool.
    """

    def __init__(self, configuration: str, tokens: Tokens, *, previous: Sequence[str] = (),
                 on_progress: Optional[Callable[[Progress], None]] = None, allow_http: bool = False,
                 root_certificates: Optional[str] = None, patience: Optional[float] = None) -> None:
        self._parts = Parts(configuration, previous, allow_http, root_certificates, patience)
        self._tokens: Callable[[str], Any] = tokens if callable(tokens) else dict(tokens).get
        self._on_progress = on_progress

    async def register(self, pin: Bytes, secret: Bytes, *, num_guesses: int, user_info: Bytes = b"") -> None:
        """As `Client.register`."""
        await self._run(register(num_guesses, user_info), pin, secret)

    async def recover(self, pin: Bytes, *, user_info: Bytes = b"") -> bytes:
        """As `Client.recover`."""
        secret: bytes = await self._run(recover(user_info), pin)
        return secret

    async def change_pin(self, old: Bytes, new: Bytes, *, user_info: Bytes = b"") -> None:
        """As `Client.change_pin`."""
        await self._run(change_pin(user_info), old, new)

    async def repair(self, pin: Bytes, *, user_info: Bytes = b"") -> Repair:
        """As `Client.repair`."""
        repaired: Repair = await self._run(repair(user_info), pin)
        return repaired

    async def status(self) -> Status:
        """As `Client.status`."""
        status: Status = await self._run({"operation": "status"})
        return status

    async def attempts(self) -> Attempts:
        """As `Client.attempts`."""
        attempts: Attempts = await self._run({"operation": "attempts"})
        return attempts

    async def delete(self) -> None:
        """As `Client.delete`."""
        await self._run({"operation": "delete"})

    async def close(self) -> None:
        """As `Client.close`."""
        await self._run({"operation": "close"})

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._parts!r})"

    async def _run(self, request: Dict[str, Any], pin: Bytes = b"", secret: Bytes = b"") -> Any:
        call = self._parts.begin(request, pin, secret)
        asking: Set["asyncio.Task[None]"] = set()
        loop = asyncio.get_running_loop()
        try:
            while True:
                told = await loop.run_in_executor(None, call.next, LOOK_MS)
                for task in [task for task in asking if task.done()]:
                    asking.discard(task)
                    task.result()
                if told is None:
                    continue
                if "token" in told:
                    asking.add(asyncio.ensure_future(self._give(call, **told["token"])))
                elif "progress" in told:
                    if self._on_progress:
                        self._on_progress(named(Progress, told["progress"]))
                else:
                    return outcome(told)
        finally:
            # Ends the operation, if a callback or a cancelled task got us here.
            call.cancel()
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def _give(self, call: Call, number: int, realm: str) -> None:
        token = None
        try:
            token = self._tokens(realm)
            if inspect.isawaitable(token):
                token = await token
        finally:
            call.give(number, token if isinstance(token, str) else None)
