/** What applications see beside the client: names of the SDK's, and what an error and a status hold. */
package strongroom

import com.google.gson.JsonElement
import com.google.gson.JsonObject
import java.time.Instant

/** What was called. */
enum class Operation { Register, Recover, Status, Delete, ChangePin, Repair, Other }

/** Why an operation failed. Only [InvalidPin] and [NotRegistered] decide anything. [Other] is one that is newer than this package. */
enum class ErrorKind {
    InvalidPin, NotRegistered, InvalidAuth, UpgradeRequired, RateLimitExceeded, Assertion, HeadRefused, RegistrationChanged, Unavailable,
    InputTooLong, Unsupported, Other
}

/** Why one realm did not do its part. */
enum class Cause {
    InvalidPin, NotRegistered, InvalidAuth, UpgradeRequired, RateLimitExceeded, Head, OtherRegistration, Assertion, Untrusted, Transient,
    Unsettled, Unsupported, Unfinished, Other
}

/** The step that an operation is beginning. */
enum class Progress { Register1, Stretch, Register2, Recover1, Heads, Recover2, Recover3, Delete, Attempts, Versions, Stage, Activate, Other }

/** A realm's view of one user. */
enum class Registration { Registered, NotRegistered, NoGuesses, Other }

/** What a status amounts to. Nothing follows from [Unknown]. */
enum class Summary { Registered, NotRegistered, NoGuesses, Unknown, Other }

/** Why a PIN is tried early by whoever guesses. */
enum class CommonPin { MostChosen, Short, Repeated, Run, Mirrored, Keypad, Year, Date, Other }

/** What a user who typed this may not have meant. */
enum class PinOddity { Empty, OtherDigits, OuterSpace, Invisible, Other }

/**
 * What can be said of a PIN that a user typed. Only facts: nothing refuses a PIN because of them. [pin] is what to register and to recover
 * with: the text in Unicode's form NFC, without its line end. [common] is why many others would choose it, if they would: for a PIN that is chosen.
 * [oddities] are what the user may not have meant: for one that is asked for as well.
 */
class PinHelp internal constructor(val pin: ByteArray, val common: CommonPin?, val oddities: List<PinOddity>) {
    companion object {
        /** Looks at what a user typed. */
        fun of(typed: String): PinHelp {
            val reply = readReply(lend(typed.toByteArray()) { text, length -> library.strongroom_pin_help(text, length) })
            val common = orNull(reply.told["common"])?.let { named(it, CommonPin.Other) }
            return PinHelp(reply.bytes, common, reply.told["oddities"].asJsonArray.map { named(it, PinOddity.Other) })
        }
    }
}

/** Why one realm did not do its part. [guessesRemaining] is null where the realm did not say. */
data class RealmCause(val realm: String, val kind: Cause, val guessesRemaining: Int?, val retryable: Boolean, val message: String)

/** What one realm says: the registration it holds and its version, or why it cannot tell. */
data class RealmStatus(val realm: String, val registration: Registration?, val version: String?, val cause: RealmCause?)

/** What the realms say about this user. [undecided] is what a recovery would fail with, if they cannot tell. */
data class Status(val summary: Summary, val realms: List<RealmStatus>, val undecided: StrongroomException?)

/** What came of a request that counted. */
enum class Counted { Registered, Guess, LastGuess, Recovered, Erased, Deleted, Staged, Activated, Other }

/** A request that counted: the entry of the log that it is counted in, when by the word of the realm's host, and what came of it. */
data class CountedRequest(val index: Long, val time: Instant?, val what: Counted, val guessesLeft: Int)

/**
 * A realm's list of the requests that counted since the registration; [newest] has at most 15, the oldest first. [isYours] is whether it is of the
 * registration that this client last made, or opened with the right PIN; null as long as it did neither. A host could show the list of another
 * record, so nothing follows from one where it is not true. Nor is it proof: it compares names of registrations, which are no secret.
 */
data class AttemptList(val version: String, val isYours: Boolean?, val count: Long, val guessesLeft: Int?, val newest: List<CountedRequest>)

/** What one realm says: its list, or why there is none. [Cause.Unsupported] if it keeps none. */
data class RealmAttempts(val realm: String, val list: AttemptList?, val cause: RealmCause?)

/** What the realms say of the requests that counted, in order of their ids. */
data class Attempts(val realms: List<RealmAttempts>)

/** What a repair did at a realm that holds the registration now. */
enum class Mended { Nothing, Finished, RegisteredAnew, Other }

/** What a repair did at one realm, or why it does not hold the registration. */
data class RealmRepair(val realm: String, val mended: Mended?, val cause: RealmCause?)

/** What came of a repair, in order of the realms' ids. */
data class Repair(val realms: List<RealmRepair>) {
    /** Whether every realm holds the registration now, and nothing else. */
    val isWhole get() = realms.all { it.mended != null }
}

/** Why an operation failed. Show its message, which says what to do next; act by [kind]. */
class StrongroomException(
    val operation: Operation,
    val kind: ErrorKind,
    message: String,
    val guessesRemaining: Int? = null,
    val retryable: Boolean = false,
    val mayHaveCostAGuess: Boolean? = null,
    val causes: List<RealmCause> = emptyList()
) : Exception(message)

/** A configuration, or another argument of a client, is not as it must be. The message says what to change. */
class ConfigurationException(message: String) : IllegalArgumentException(message)

internal inline fun <reified N : Enum<N>> named(name: JsonElement, other: N): N = enumValues<N>().find { it.name == name.asString } ?: other

internal fun orNull(value: JsonElement): JsonElement? = if (value.isJsonNull) null else value

internal fun readCause(told: JsonObject) = RealmCause(
    told["realm"].asString, named(told["kind"], Cause.Other), orNull(told["guessesRemaining"])?.asInt, told["retryable"].asBoolean,
    told["message"].asString
)

internal fun readError(told: JsonObject) = StrongroomException(
    named(told["operation"], Operation.Other), named(told["kind"], ErrorKind.Other), told["message"].asString,
    orNull(told["guessesRemaining"])?.asInt, told["retryable"].asBoolean, orNull(told["mayHaveCostAGuess"])?.asBoolean,
    told["causes"].asJsonArray.map { readCause(it.asJsonObject) }
)

internal fun readList(told: JsonObject) = AttemptList(
    told["version"].asString, orNull(told["isYours"])?.asBoolean, told["count"].asLong, orNull(told["guessesLeft"])?.asInt,
    told["newest"].asJsonArray.map { it.asJsonObject }.map { counted ->
        val time = orNull(counted["unixS"])?.let { Instant.ofEpochSecond(it.asLong) }
        CountedRequest(counted["index"].asLong, time, named(counted["what"], Counted.Other), counted["guessesLeft"].asInt)
    }
)

internal fun readAttempts(told: JsonObject) = Attempts(
    told["attempts"].asJsonArray.map { it.asJsonObject }.map { realm ->
        val (list, cause) = orNull(realm["list"]) to orNull(realm["cause"])
        RealmAttempts(realm["realm"].asString, list?.let { readList(it.asJsonObject) }, cause?.let { readCause(it.asJsonObject) })
    }
)

internal fun readRepair(told: JsonObject) = Repair(
    told["repair"].asJsonArray.map { it.asJsonObject }.map { realm ->
        val (mended, cause) = orNull(realm["mended"]) to orNull(realm["cause"])
        RealmRepair(realm["realm"].asString, mended?.let { named(it, Mended.Other) }, cause?.let { readCause(it.asJsonObject) })
    }
)

internal fun readStatus(told: JsonObject) = Status(
    named(told["status"], Summary.Other),
    told["realms"].asJsonArray.map { it.asJsonObject }.map { realm ->
        RealmStatus(
            realm["realm"].asString, orNull(realm["registration"])?.let { named(it, Registration.Other) }, orNull(realm["version"])?.asString,
            orNull(realm["cause"])?.let { readCause(it.asJsonObject) }
        )
    },
    orNull(told["undecided"])?.let { readError(it.asJsonObject) }
)
