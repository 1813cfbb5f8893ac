// What applications see beside the client: names of the SDK's, and what an error and a status hold.
import CStrongroom
import Foundation

/// What was called. `other` is one that is newer than this package; so everywhere below.
public enum Operation: String {
    case register = "Register", recover = "Recover", status = "Status", delete = "Delete"
    case changePin = "ChangePin", repair = "Repair", other
}

/// Why an operation failed. Only `invalidPin` and `notRegistered` decide anything.
public enum ErrorKind: String {
    case invalidPin = "InvalidPin", notRegistered = "NotRegistered", invalidAuth = "InvalidAuth", upgradeRequired = "UpgradeRequired"
    case rateLimitExceeded = "RateLimitExceeded", assertion = "Assertion", headRefused = "HeadRefused"
    case registrationChanged = "RegistrationChanged", unavailable = "Unavailable", inputTooLong = "InputTooLong", unsupported = "Unsupported"
    case other
}

/// Why one realm did not do its part.
public enum Cause: String {
    case invalidPin = "InvalidPin", notRegistered = "NotRegistered", invalidAuth = "InvalidAuth", upgradeRequired = "UpgradeRequired"
    case rateLimitExceeded = "RateLimitExceeded", head = "Head", otherRegistration = "OtherRegistration", assertion = "Assertion"
    case untrusted = "Untrusted", transient = "Transient", unsettled = "Unsettled", unsupported = "Unsupported"
    case unfinished = "Unfinished", other
}

/// The step that an operation is beginning.
public enum Progress: String {
    case register1 = "Register1", stretch = "Stretch", register2 = "Register2", recover1 = "Recover1", heads = "Heads"
    case recover2 = "Recover2", recover3 = "Recover3", delete = "Delete", attempts = "Attempts"
    case versions = "Versions", stage = "Stage", activate = "Activate", other
}

/// A realm's view of one user.
public enum Registration: String { case registered = "Registered", notRegistered = "NotRegistered", noGuesses = "NoGuesses", other }

/// What a status amounts to. Nothing follows from `unknown`.
public enum Summary: String {
    case registered = "Registered", notRegistered = "NotRegistered", noGuesses = "NoGuesses", unknown = "Unknown", other
}

/// Why a PIN is tried early by whoever guesses.
public enum CommonPin: String {
    case mostChosen = "MostChosen", short = "Short", repeated = "Repeated", run = "Run", mirrored = "Mirrored", keypad = "Keypad"
    case year = "Year", date = "Date", other
}

/// What a user who typed this may not have meant.
public enum PinOddity: String {
    case empty = "Empty", otherDigits = "OtherDigits", outerSpace = "OuterSpace", invisible = "Invisible", other
}

/// What can be said of a PIN that a user typed. Only facts: nothing refuses a PIN because of them.
public struct PinHelp {
    /// What to register and to recover with: the text in Unicode's form NFC, without its line end.
    public let pin: Data
    /// Why many others would choose it, if they would: for a PIN that is chosen.
    public let common: CommonPin?
    /// What the user may not have meant: for one that is asked for as well.
    public let oddities: [PinOddity]

    private struct Text: Decodable { let common: String?, oddities: [String] }

    /// Looks at what a user typed.
    public static func of(_ typed: String) throws -> PinHelp {
        precondition(strongroom_abi_version() == 2, "the library is of another version than this package")
        let text = Array(typed.utf8)
        guard let reply = strongroom_pin_help(text, text.count) else { throw ArgumentError(message: "there is no memory left") }
        // Wipes the PIN.
        defer { strongroom_reply_free(reply) }
        let told = try JSONDecoder().decode(Text.self, from: Data(String(cString: strongroom_reply_text(reply)).utf8))
        let length = strongroom_reply_secret_length(reply)
        return PinHelp(pin: strongroom_reply_secret(reply).map { Data(bytes: $0, count: length) } ?? Data(),
                       common: told.common.map { CommonPin(rawValue: $0) ?? .other },
                       oddities: told.oddities.map { PinOddity(rawValue: $0) ?? .other })
    }
}

/// Why one realm did not do its part. `guessesRemaining` is nil where the realm did not say.
public struct RealmCause: Equatable {
    public let realm: String
    public let kind: Cause
    public let guessesRemaining: Int?
    public let retryable: Bool
    public let message: String
}

/// What one realm says: the registration it holds and its version, or why it cannot tell.
public struct RealmStatus {
    public let realm: String
    public let registration: Registration?
    public let version: String?
    public let cause: RealmCause?
}

/// What the realms say about this user. `undecided` is what a recovery would fail with, if they cannot tell.
public struct Status {
    public let summary: Summary
    public let realms: [RealmStatus]
    public let undecided: StrongroomError?
}

/// What came of a request that counted.
public enum Counted: String {
    case registered = "Registered", guess = "Guess", lastGuess = "LastGuess", recovered = "Recovered", erased = "Erased"
    case deleted = "Deleted", staged = "Staged", activated = "Activated", other = "Other"
}

/// A request that counted: the entry of the log that it is counted in, when by the word of the realm's host, and what came of it.
public struct CountedRequest {
    public let index: UInt64
    public let time: Date?
    public let what: Counted
    public let guessesLeft: Int
}

/// A realm's list of the requests that counted since the registration; `newest` has at most 15, the oldest first. `isYours` is whether it
/// is of the registration that this client last made, or opened with the right PIN; nil as long as it did neither. A host could show the
/// list of another record, so nothing follows from one where it is not true. Nor is it proof: it compares names of registrations, which
/// are no secret.
public struct AttemptList {
    public let version: String
    public let isYours: Bool?
    public let count: UInt64
    public let guessesLeft: Int?
    public let newest: [CountedRequest]
}

/// What one realm says: its list, or why there is none. `Cause.unsupported` if it keeps none.
public struct RealmAttempts {
    public let realm: String
    public let list: AttemptList?
    public let cause: RealmCause?
}

/// What the realms say of the requests that counted, in order of their ids.
public struct Attempts {
    public let realms: [RealmAttempts]
}

/// What a repair did at a realm that holds the registration now.
public enum Mended: String { case nothing = "Nothing", finished = "Finished", registeredAnew = "RegisteredAnew", other }

/// What a repair did at one realm, or why it does not hold the registration.
public struct RealmRepair {
    public let realm: String
    public let mended: Mended?
    public let cause: RealmCause?
}

/// What came of a repair, in order of the realms' ids.
public struct Repair {
    public let realms: [RealmRepair]
    /// Whether every realm holds the registration now, and nothing else.
    public var isWhole: Bool { realms.allSatisfy { $0.mended != nil } }
}

/// Why an operation failed. Show its message, which says what to do next; act by `kind`.
public struct StrongroomError: LocalizedError {
    public let operation: Operation
    public let kind: ErrorKind
    public let guessesRemaining: Int?
    public let retryable: Bool
    public let mayHaveCostAGuess: Bool?
    public let message: String
    public let causes: [RealmCause]
    public var errorDescription: String? { message }
}

/// An argument is not as it must be. The message says what to change.
public struct ArgumentError: LocalizedError {
    public let message: String
    public var errorDescription: String? { message }
}

// What the library says, as JSON.
struct Reply: Decodable {
    struct Request: Decodable { let number: UInt64, realm: String }
    struct CauseText: Decodable { let realm: String, kind: String, guessesRemaining: Int?, retryable: Bool, message: String }
    struct ErrorText: Decodable {
        let operation: String, kind: String, guessesRemaining: Int?, retryable: Bool, mayHaveCostAGuess: Bool?, message: String
        let causes: [CauseText]
    }
    struct RealmText: Decodable { let realm: String, registration: String?, version: String?, cause: CauseText? }

    let progress: String?, token: Request?, secret: Bool?, status: String?, realms: [RealmText]?, undecided: ErrorText?
    let error: ErrorText?, cancelled: Bool?, refused: String?, attempts: [AttemptsText]?, repair: [RepairText]?

    struct CountedText: Decodable { let index: UInt64, unixS: UInt64?, what: String, guessesLeft: Int }
    struct ListText: Decodable { let version: String, isYours: Bool?, count: UInt64, guessesLeft: Int?, newest: [CountedText] }
    struct RepairText: Decodable { let realm: String, mended: String?, cause: CauseText? }
    struct AttemptsText: Decodable { let realm: String, list: ListText?, cause: CauseText? }
}

extension CountedRequest {
    init(_ told: Reply.CountedText) {
        self.init(index: told.index, time: told.unixS.map { Date(timeIntervalSince1970: TimeInterval($0)) },
                  what: Counted(rawValue: told.what) ?? .other, guessesLeft: told.guessesLeft)
    }
}

extension AttemptList {
    init(_ told: Reply.ListText) {
        self.init(version: told.version, isYours: told.isYours, count: told.count, guessesLeft: told.guessesLeft,
                  newest: told.newest.map { CountedRequest($0) })
    }
}

extension Attempts {
    init(_ told: Reply) {
        self.init(realms: (told.attempts ?? []).map { realm in
            RealmAttempts(realm: realm.realm, list: realm.list.map { AttemptList($0) }, cause: realm.cause.map { RealmCause($0) })
        })
    }
}

extension Repair {
    init(_ told: Reply) {
        self.init(realms: (told.repair ?? []).map { realm in
            RealmRepair(realm: realm.realm, mended: realm.mended.map { Mended(rawValue: $0) ?? .other }, cause: realm.cause.map { RealmCause($0) })
        })
    }
}

extension RealmCause {
    init(_ told: Reply.CauseText) {
        self.init(realm: told.realm, kind: Cause(rawValue: told.kind) ?? .other, guessesRemaining: told.guessesRemaining,
                  retryable: told.retryable, message: told.message)
    }
}

extension StrongroomError {
    init(_ told: Reply.ErrorText) {
        self.init(operation: Operation(rawValue: told.operation) ?? .other, kind: ErrorKind(rawValue: told.kind) ?? .other,
                  guessesRemaining: told.guessesRemaining, retryable: told.retryable, mayHaveCostAGuess: told.mayHaveCostAGuess,
                  message: told.message, causes: told.causes.map { RealmCause($0) })
    }
}

extension Status {
    init(_ told: Reply) {
        let realms = (told.realms ?? []).map { realm in
            RealmStatus(realm: realm.realm, registration: realm.registration.map { Registration(rawValue: $0) ?? .other },
                        version: realm.version, cause: realm.cause.map { RealmCause($0) })
        }
        self.init(summary: told.status.flatMap { Summary(rawValue: $0) } ?? .other, realms: realms,
                  undecided: told.undecided.map { StrongroomError($0) })
    }
}
