/**
 * Strongroom for JavaScript. Names, errors and defaults are those of the Rust SDK; values of its enums are texts with the names of
 * their variants.
 */

/** A text stands for its UTF-8 bytes. */
export type Bytes = string | Uint8Array;

/** Tokens known beforehand, by the realm's id; or a function that gets one from the application's own server when it is needed. */
export type Tokens = Record<string, string> | ((realm: string, signal: AbortSignal) => string | undefined | Promise<string | undefined>);

/** A step that begins. */
export type Progress =
    | 'Register1' | 'Stretch' | 'Register2'
    | 'Recover1' | 'Heads' | 'Recover2' | 'Recover3'
    | 'Delete' | 'Attempts'
    | 'Versions' | 'Stage' | 'Activate';

export interface Options {
    /** Earlier configurations, newest first. */
    previous?: (string | object)[];
    /** Called at the beginning of every step. */
    onProgress?: (step: Progress) => void;
    /** How long the client keeps asking a realm that it needs (10 000), and after how long it sends a copy of a request (1000; null: never). */
    retryPolicy?: { patienceMs?: number; copyAfterMs?: number | null };
    /** Carries requests in place of `globalThis.fetch`. It must not follow redirects if it is told so. */
    fetch?: typeof fetch;
}

/** Ends an operation early: its promise is then rejected with the signal's reason. What realms have been sent by then, they may act on. */
export interface Cancellation {
    signal?: AbortSignal;
}

/** Registers, recovers and deletes one user's secret at the realms of a configuration. Use one for a sequence of operations. */
export class Client {
    private constructor();

    /**
     * @param configuration JSON from the realms' operators, as text or parsed. It is trusted.
     * @throws {Error} the configuration breaks a rule, which the message names
     */
    static build(configuration: string | object, tokens: Tokens, options?: Options): Promise<Client>;

    /**
     * Keeps a secret under a PIN.
     *
     * @param secret at most 128 bytes
     * @param userInfo a permanent name of the user, or nothing. With a different one, the right PIN is wrong
     * @param numGuesses 1 to 255: after so many wrong ones in a row, the secret is gone
     * @throws {StrongroomError}
     */
    register(pin: Bytes, secret: Bytes, userInfo: Bytes, numGuesses: number, cancellation?: Cancellation): Promise<void>;

    /**
     * Recovers the secret. A wrong PIN costs a guess; the right one gives all guesses back.
     *
     * @throws {StrongroomError}
     */
    recover(pin: Bytes, userInfo: Bytes, cancellation?: Cancellation): Promise<Uint8Array>;

    /**
     * Puts the secret under another PIN, whole or not at all: whatever interrupts it, the old PIN or the new one opens the secret. A wrong
     * old PIN costs a guess. The number of guesses stays.
     *
     * @throws {StrongroomError}
     */
    changePin(old: Bytes, chosen: Bytes, userInfo: Bytes, cancellation?: Cancellation): Promise<void>;

    /**
     * Makes whole what an interrupted change of the PIN, or a realm that missed a registration, has left. A wrong PIN costs a guess.
     *
     * @throws {StrongroomError}
     */
    repair(pin: Bytes, userInfo: Bytes, cancellation?: Cancellation): Promise<Repair>;

    /** Asks every realm whether it holds a registration. Costs no guess. */
    status(cancellation?: Cancellation): Promise<Status>;

    /** Asks every realm which requests on the user's record counted, such as tries of the PIN. Costs no guess. */
    attempts(cancellation?: Cancellation): Promise<Attempts>;

    /**
     * Deletes what is registered, without a PIN. Succeeds where there is nothing.
     *
     * @throws {StrongroomError}
     */
    delete(cancellation?: Cancellation): Promise<void>;

    /** Waits for what operations left under way at realms that were late, for at most five seconds. Then ends the worker, and frees the memory. */
    close(): Promise<void>;
}

/** Why a PIN is tried early by whoever guesses; the first that fits. `docs/apps.md` says what each is. */
export type CommonPin = 'MostChosen' | 'Short' | 'Repeated' | 'Run' | 'Mirrored' | 'Keypad' | 'Year' | 'Date';

/** What a user who typed this may not have meant. */
export type PinOddity = 'Empty' | 'OtherDigits' | 'OuterSpace' | 'Invisible';

/** What can be said of a PIN that a user typed. Only facts: nothing refuses a PIN because of them. */
export class PinHelp {
    private constructor();

    /** Looks at what a user typed. Asks nobody. */
    static of(typed: string): Promise<PinHelp>;

    /** What to register and to recover with: the text in Unicode's form NFC, without its line end. */
    readonly pin: Uint8Array;
    /** Why many others would choose it, if they would: for a PIN that is chosen. */
    readonly common: CommonPin | null;
    /** What the user may not have meant: for one that is asked for as well. */
    readonly oddities: readonly PinOddity[];
}

export type Operation = 'Register' | 'Recover' | 'Status' | 'Delete' | 'ChangePin' | 'Repair';

export type ErrorKind =
    | 'InvalidPin' | 'NotRegistered'
    | 'InvalidAuth' | 'UpgradeRequired' | 'RateLimitExceeded' | 'Assertion' | 'HeadRefused'
    | 'RegistrationChanged' | 'Unavailable' | 'InputTooLong' | 'Unsupported';

export type CauseKind =
    | 'InvalidPin' | 'NotRegistered'
    | 'InvalidAuth' | 'UpgradeRequired' | 'RateLimitExceeded' | 'Head'
    | 'OtherRegistration' | 'Assertion' | 'Untrusted' | 'Transient' | 'Unsettled' | 'Unsupported' | 'Unfinished';

/** Why an operation failed. Show its `message`, which says what to do next; act by its `kind`. */
export class StrongroomError extends Error {
    readonly operation: Operation;
    readonly kind: ErrorKind;
    /** With `InvalidPin`; at 0 the secret is gone forever. */
    readonly guessesRemaining: number | null;
    /** With `Unavailable`. */
    readonly mayHaveCostAGuess: boolean | null;
    /** Whether the same call may succeed later. */
    readonly retryable: boolean;
    /** What each realm did that failed, or gave this answer. */
    readonly causes: readonly RealmError[];
}

/** What one realm did. */
export interface RealmError {
    readonly realm: string;
    readonly kind: CauseKind;
    readonly guessesRemaining: number | null;
    readonly retryable: boolean;
    readonly message: string;
}

export interface Status {
    /** Unknown: the realms that cannot tell would decide. Nothing follows from that: ask again. */
    readonly summary: 'Registered' | 'NotRegistered' | 'NoGuesses' | 'Unknown';
    /** In order of the realms' ids. */
    readonly realms: readonly RealmStatus[];
    /** If the summary is unknown: what a recovery would fail with. */
    readonly undecided: StrongroomError | null;
}

export interface RealmStatus {
    readonly realm: string;
    /** Null if it cannot tell. */
    readonly registration: 'Registered' | 'NotRegistered' | 'NoGuesses' | null;
    /** Which registration, in hexadecimal: realms that name the same one belong together. */
    readonly version: string | null;
    /** Why it cannot tell. */
    readonly cause: RealmError | null;
}

/** What came of a repair. */
export interface Repair {
    /** In order of the realms' ids. */
    readonly realms: readonly RealmRepair[];
    /** Whether every realm holds the registration now, and nothing else. */
    readonly isWhole: boolean;
}

/** What a repair did at a realm that holds the registration now. */
export type Mended = 'Nothing' | 'Finished' | 'RegisteredAnew';

export interface RealmRepair {
    readonly realm: string;
    /** Null if it does not hold the registration. */
    readonly mended: Mended | null;
    /** Why it does not. */
    readonly cause: RealmError | null;
}

/** What the realms say of the requests that counted. */
export interface Attempts {
    /** In order of the realms' ids. */
    readonly realms: readonly RealmAttempts[];
}

export interface RealmAttempts {
    readonly realm: string;
    /** Null if there is none. */
    readonly list: AttemptList | null;
    /** Why there is none: `Unsupported` if the realm keeps none. */
    readonly cause: RealmError | null;
}

/** A realm's list of the requests that counted since the registration. */
export interface AttemptList {
    /** Which registration, in hexadecimal. */
    readonly version: string;
    /**
     * Whether it is of the registration that this client last made, or opened with the right PIN; null as long as it did neither. A host
     * could show the list of another record, so nothing follows from one where it is not true. Nor is it proof: it
     * compares names of registrations, which are no secret.
     */
    readonly isYours: boolean | null;
    /** How many requests counted, the registration included. */
    readonly count: number;
    /** After the newest one. */
    readonly guessesLeft: number | null;
    /** At most 15, the oldest first. */
    readonly newest: readonly CountedRequest[];
}

export type Counted = 'Registered' | 'Guess' | 'LastGuess' | 'Recovered' | 'Erased' | 'Deleted' | 'Staged' | 'Activated' | 'Other';

export interface CountedRequest {
    /** The entry of the log that it is counted in. */
    readonly index: number;
    /** To the second, by the word of the realm's host alone; null if that says nothing. */
    readonly time: Date | null;
    readonly what: Counted;
    readonly guessesLeft: number;
}
