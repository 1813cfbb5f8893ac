"""What applications see beside the clients: names of the SDK's, and what an error and a status hold."""
import enum
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Dict, List, Optional, Type, TypeVar


class _Name(str, enum.Enum):
    """A name that the SDK gives; a newer one may give more."""

    def __str__(self) -> str:
        return str(self.value)


class Operation(_Name):
    """What was called."""

    REGISTER = "Register"
    RECOVER = "Recover"
    STATUS = "Status"
    DELETE = "Delete"
    CHANGE_PIN = "ChangePin"
    REPAIR = "Repair"


class ErrorKind(_Name):
    """Why an operation failed. Only INVALID_PIN and NOT_REGISTERED decide anything."""

    INVALID_PIN = "InvalidPin"
    NOT_REGISTERED = "NotRegistered"
    INVALID_AUTH = "InvalidAuth"
    UPGRADE_REQUIRED = "UpgradeRequired"
    RATE_LIMIT_EXCEEDED = "RateLimitExceeded"
    ASSERTION = "Assertion"
    HEAD_REFUSED = "HeadRefused"
    REGISTRATION_CHANGED = "RegistrationChanged"
    UNAVAILABLE = "Unavailable"
    INPUT_TOO_LONG = "InputTooLong"
    UNSUPPORTED = "Unsupported"


class Cause(_Name):
    """Why one realm did not do its part."""

    INVALID_PIN = "InvalidPin"
    NOT_REGISTERED = "NotRegistered"
    INVALID_AUTH = "InvalidAuth"
    UPGRADE_REQUIRED = "UpgradeRequired"
    RATE_LIMIT_EXCEEDED = "RateLimitExceeded"
    HEAD = "Head"
    OTHER_REGISTRATION = "OtherRegistration"
    ASSERTION = "Assertion"
    UNTRUSTED = "Untrusted"
    UNSUPPORTED = "Unsupported"
    UNFINISHED = "Unfinished"
    TRANSIENT = "Transient"
    UNSETTLED = "Unsettled"


class Progress(_Name):
    """The step that an operation is beginning."""

    REGISTER1 = "Register1"
    STRETCH = "Stretch"
    REGISTER2 = "Register2"
    RECOVER1 = "Recover1"
    HEADS = "Heads"
    RECOVER2 = "Recover2"
    RECOVER3 = "Recover3"
    DELETE = "Delete"
    ATTEMPTS = "Attempts"
    VERSIONS = "Versions"
    STAGE = "Stage"
    ACTIVATE = "Activate"


class Mended(_Name):
    """What a repair did at a realm that holds the registration now."""

    NOTHING = "Nothing"
    FINISHED = "Finished"
    REGISTERED_ANEW = "RegisteredAnew"


class Registration(_Name):
    """A realm's view of one user."""

    REGISTERED = "Registered"
    NOT_REGISTERED = "NotRegistered"
    NO_GUESSES = "NoGuesses"


class Summary(_Name):
    """What a status amounts to. Nothing follows from UNKNOWN."""

    REGISTERED = "Registered"
    NOT_REGISTERED = "NotRegistered"
    NO_GUESSES = "NoGuesses"
    UNKNOWN = "Unknown"


class Counted(_Name):
    """What came of a request that counted."""

    REGISTERED = "Registered"
    GUESS = "Guess"
    LAST_GUESS = "LastGuess"
    RECOVERED = "Recovered"
    ERASED = "Erased"
    DELETED = "Deleted"
    STAGED = "Staged"
    ACTIVATED = "Activated"
    OTHER = "Other"


class CommonPin(_Name):
    """Why a PIN is tried early by whoever guesses."""

    MOST_CHOSEN = "MostChosen"
    SHORT = "Short"
    REPEATED = "Repeated"
    RUN = "Run"
    MIRRORED = "Mirrored"
    KEYPAD = "Keypad"
    YEAR = "Year"
    DATE = "Date"


class PinOddity(_Name):
    """What a user who typed this may not have meant."""

    EMPTY = "Empty"
    OTHER_DIGITS = "OtherDigits"
    OUTER_SPACE = "OuterSpace"
    INVISIBLE = "Invisible"


_N = TypeVar("_N", bound=_Name)


def named(names: Type[_N], value: str) -> Any:
    """The name of that value; the value itself if it is newer than this module."""
    try:
        return names(value)
    except ValueError:
        return value


@dataclass(frozen=True)
class RealmCause:
    """Why one realm did not do its part. `guesses_remaining` is None where the realm did not say."""

    realm: str
    kind: Cause
    guesses_remaining: Optional[int]
    retryable: bool
    message: str

    @classmethod
    def _read(cls, told: Dict[str, Any]) -> "RealmCause":
        return cls(told["realm"], named(Cause, told["kind"]), told["guessesRemaining"], told["retryable"], told["message"])


class ConfigurationError(ValueError):
    """A configuration, or another argument of a client, is not as it must be. The text says what to change."""


class Cancelled(Exception):
    """The operation was given up. What it had sent may still happen; a recovery may have cost a guess."""


class StrongroomError(Exception):
    """Why an operation failed. Show its text, which says what to do next; act by `kind`."""

    def __init__(self, operation: Operation, kind: ErrorKind, message: str, guesses_remaining: Optional[int] = None,
                 retryable: bool = False, may_have_cost_a_guess: Optional[bool] = None,
                 causes: Optional[List[RealmCause]] = None) -> None:
        super().__init__(message)
        self.operation = operation
        self.kind = kind
        self.message = message
        self.guesses_remaining = guesses_remaining
        self.retryable = retryable
        self.may_have_cost_a_guess = may_have_cost_a_guess
        self.causes = causes or []

    def __reduce__(self) -> Any:
        return (type(self), (self.operation, self.kind, self.message, self.guesses_remaining, self.retryable,
                             self.may_have_cost_a_guess, self.causes))

    @classmethod
    def _read(cls, told: Dict[str, Any]) -> "StrongroomError":
        return cls(named(Operation, told["operation"]), named(ErrorKind, told["kind"]), told["message"],
                   told["guessesRemaining"], told["retryable"], told["mayHaveCostAGuess"],
                   [RealmCause._read(cause) for cause in told["causes"]])


@dataclass(frozen=True)
class RealmStatus:
    """What one realm says: the registration it holds and its version, or why it cannot tell."""

    realm: str
    registration: Optional[Registration]
    version: Optional[str]
    cause: Optional[RealmCause]


@dataclass(frozen=True)
class Status:
    """What the realms say about this user. `undecided` is what a recovery would fail with, if they cannot tell."""

    summary: Summary
    realms: List[RealmStatus]
    undecided: Optional[StrongroomError]

    @classmethod
    def _read(cls, told: Dict[str, Any]) -> "Status":
        def read(realm: Dict[str, Any]) -> RealmStatus:
            said, cause = realm["registration"], realm["cause"]
            return RealmStatus(realm["realm"], said and named(Registration, said), realm["version"],
                               RealmCause._read(cause) if cause else None)
        undecided = told["undecided"]
        return cls(named(Summary, told["status"]), [read(realm) for realm in told["realms"]],
                   StrongroomError._read(undecided) if undecided else None)


@dataclass(frozen=True)
class CountedRequest:
    """A request that counted: the entry of the log that it is counted in, when by the word of the realm's host, and what came of it."""

    index: int
    time: Optional[datetime]
    what: Counted
    guesses_left: int

    @classmethod
    def _read(cls, told: Dict[str, Any]) -> "CountedRequest":
        since = told["unixS"]
        time = None if since is None else datetime.fromtimestamp(since, timezone.utc)
        return cls(told["index"], time, named(Counted, told["what"]), told["guessesLeft"])


@dataclass(frozen=True)
class AttemptList:
    """A realm's list of the requests that counted since the registration; `newest` has at most 15, the oldest first.

    `is_yours` is whether it is of the registration that this client last made, or opened with the right PIN; None as long as it did
    neither. A host could show the list of another record, so nothing follows from one where it is not True. Nor is it proof: it compares
    names of registrations, which are no secret.
    """

    version: str
    is_yours: Optional[bool]
    count: int
    guesses_left: Optional[int]
    newest: List[CountedRequest]

    @classmethod
    def _read(cls, told: Dict[str, Any]) -> "AttemptList":
        newest = [CountedRequest._read(counted) for counted in told["newest"]]
        return cls(told["version"], told["isYours"], told["count"], told["guessesLeft"], newest)


@dataclass(frozen=True)
class RealmAttempts:
    """What one realm says: its list, or why there is none. `Cause.UNSUPPORTED` if it keeps none."""

    realm: str
    list: Optional[AttemptList]
    cause: Optional[RealmCause]


@dataclass(frozen=True)
class Attempts:
    """What the realms say of the requests that counted, in order of their ids."""

    realms: List[RealmAttempts]

    @classmethod
    def _read(cls, told: Dict[str, Any]) -> "Attempts":
        def read(realm: Dict[str, Any]) -> RealmAttempts:
            said, cause = realm["list"], realm["cause"]
            return RealmAttempts(realm["realm"], AttemptList._read(said) if said else None, RealmCause._read(cause) if cause else None)
        return cls([read(realm) for realm in told["attempts"]])


@dataclass(frozen=True)
class RealmRepair:
    """What a repair did at one realm, or why it does not hold the registration."""

    realm: str
    mended: Optional[Mended]
    cause: Optional[RealmCause]


@dataclass(frozen=True)
class Repair:
    """What came of a repair, in order of the realms' ids."""

    realms: List[RealmRepair]

    @property
    def is_whole(self) -> bool:
        """Whether every realm holds the registration now, and nothing else."""
        return all(realm.mended is not None for realm in self.realms)

    @classmethod
    def _read(cls, told: Dict[str, Any]) -> "Repair":
        def read(realm: Dict[str, Any]) -> RealmRepair:
            mended, cause = realm["mended"], realm["cause"]
            return RealmRepair(realm["realm"], mended and named(Mended, mended), RealmCause._read(cause) if cause else None)
        return cls([read(realm) for realm in told["repair"]])
