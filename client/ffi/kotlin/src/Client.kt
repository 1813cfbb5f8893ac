package strongroom

import com.google.gson.JsonArray
import com.google.gson.JsonObject
import com.sun.jna.Pointer
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext

/** How long a thread is in the library at a time: as long as it takes to notice that its coroutine was cancelled. */
private const val LOOK_MS = 200

/**
 * Registers, recovers and deletes one user's secret at the realms of a configuration.
 *
 * [tokens] is given the id of a realm (32 hexadecimal digits, lower case) for every request, and returns a token or null. What it
 * throws, the operation throws. To cancel a coroutine cancels its operation: what it had sent may still happen, and a recovery may have
 * cost a guess. PINs and secrets are byte arrays, so that you can wipe yours.
 */
class Client(
    configuration: String,
    private val tokens: suspend (realm: String) -> String?,
    previous: List<String> = emptyList(),
    private val onProgress: (Progress) -> Unit = {},
    allowHttp: Boolean = false,
    rootCertificates: String? = null,
    patienceMs: Long? = null
) {
    private var client: Pointer? = null

    init {
        val options = JsonObject()
        options.addProperty("configuration", configuration)
        options.add("previous", JsonArray().also { list -> previous.forEach { list.add(it) } })
        options.addProperty("allowHttp", allowHttp)
        rootCertificates?.let { options.addProperty("rootCertificates", it) }
        patienceMs?.let { options.addProperty("patienceMs", it) }
        val made = lendText(options.toString()) { library.strongroom_client_new(it) }
        library.strongroom_client_refusal(made)?.let {
            val why = readText(it)["refused"].asString
            library.strongroom_client_free(made)
            throw ConfigurationException(why)
        }
        client = made
    }

    /** Keeps [secret], at most 128 bytes, under [pin], for at most [numGuesses] wrong PINs in a row. Replaces what was there. */
    suspend fun register(pin: ByteArray, secret: ByteArray, numGuesses: Int, userInfo: ByteArray = ByteArray(0)) {
        require(numGuesses in 1..255) { "numGuesses must be 1 to 255" }
        val request = request("register", userInfo)
        request.addProperty("numGuesses", numGuesses)
        run(request, pin, secret)
    }

    /** The secret. A wrong PIN costs a guess; the right one gives all guesses back. */
    suspend fun recover(pin: ByteArray, userInfo: ByteArray = ByteArray(0)): ByteArray = run(request("recover", userInfo), pin).bytes

    /**
     * Puts the secret under another PIN, whole or not at all: whatever interrupts it, the old PIN or the new one opens the secret. A wrong old
     * PIN costs a guess. The number of guesses stays.
     */
    suspend fun changePin(old: ByteArray, new: ByteArray, userInfo: ByteArray = ByteArray(0)) {
        run(request("changePin", userInfo), old, new)
    }

    /** Makes whole what an interrupted change of the PIN, or a realm that missed a registration, has left. A wrong PIN costs a guess. */
    suspend fun repair(pin: ByteArray, userInfo: ByteArray = ByteArray(0)): Repair = readRepair(run(request("repair", userInfo), pin).told)

    /** What the realms say is registered. Costs no guess, and does not fail. */
    suspend fun status(): Status = readStatus(run(request("status")).told)

    /** Which requests on the user's record counted, such as tries of the PIN. Costs no guess, and does not fail. */
    suspend fun attempts(): Attempts = readAttempts(run(request("attempts")).told)

    /** Has every realm of the configuration forget the user. Succeeds where there is nothing. */
    suspend fun delete() {
        run(request("delete"))
    }

    /** Waits for what earlier operations left under way, and ends the client. */
    suspend fun close() {
        run(request("close"))
        synchronized(this) {
            client?.let { library.strongroom_client_free(it) }
            client = null
        }
    }

    private fun request(operation: String, userInfo: ByteArray? = null): JsonObject {
        val request = JsonObject()
        request.addProperty("operation", operation)
        userInfo?.let { bytes -> request.addProperty("userInfo", bytes.joinToString("") { "%02x".format(it) }) }
        return request
    }

    private fun begin(request: JsonObject, pin: ByteArray, secret: ByteArray): Pointer = synchronized(this) {
        val client = checkNotNull(client) { "this client is closed" }
        lendText(request.toString()) { text ->
            lend(pin) { pin, pinLength ->
                lend(secret) { secret, secretLength -> library.strongroom_call_begin(client, text, pin, pinLength, secret, secretLength) }
            }
        }
    }

    private suspend fun run(request: JsonObject, pin: ByteArray = ByteArray(0), secret: ByteArray = ByteArray(0)): Reply {
        val call = begin(request, pin, secret)
        try {
            while (true) {
                val reply = withContext(Dispatchers.IO) { next(call) } ?: continue
                val told = reply.told
                when {
                    told.has("token") -> give(call, told["token"].asJsonObject)
                    told.has("progress") -> onProgress(named(told["progress"], Progress.Other))
                    told.has("error") -> throw readError(told["error"].asJsonObject)
                    told.has("refused") -> throw IllegalArgumentException(told["refused"].asString)
                    else -> return reply
                }
            }
        } finally {
            // Ends the operation, if something thrown got us here.
            library.strongroom_call_free(call)
        }
    }

    private fun next(call: Pointer): Reply? = library.strongroom_call_next(call, LOOK_MS)?.let { readReply(it) }

    private suspend fun give(call: Pointer, request: JsonObject) {
        var token: String? = null
        try {
            token = tokens(request["realm"].asString)
        } finally {
            val number = request["number"].asLong
            when (val given = token) {
                null -> library.strongroom_call_give_token(call, number, null, Size(0))
                else -> lend(given.toByteArray()) { bytes, length -> library.strongroom_call_give_token(call, number, bytes, length) }
            }
        }
    }
}
