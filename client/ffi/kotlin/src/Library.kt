/** The library's functions, as `include/strongroom.h` declares them. */
package strongroom

import com.google.gson.JsonObject
import com.google.gson.JsonParser
import com.sun.jna.IntegerType
import com.sun.jna.Library
import com.sun.jna.Memory
import com.sun.jna.Native
import com.sun.jna.Pointer

internal const val ABI = 2

/** C's `size_t`. */
internal class Size @JvmOverloads constructor(value: Long = 0) : IntegerType(Native.SIZE_T_SIZE, value, true) {
    override fun toByte() = toInt().toByte()
    override fun toChar() = toInt().toChar()
    override fun toShort() = toInt().toShort()
}

@Suppress("FunctionName")
internal interface Functions : Library {
    fun strongroom_abi_version(): Int
    fun strongroom_client_new(options: Pointer): Pointer
    fun strongroom_client_refusal(client: Pointer): Pointer?
    fun strongroom_client_free(client: Pointer)
    fun strongroom_call_begin(client: Pointer, request: Pointer, pin: Pointer?, pinLength: Size, secret: Pointer?, secretLength: Size): Pointer
    fun strongroom_call_next(call: Pointer, timeoutMs: Int): Pointer?
    fun strongroom_call_give_token(call: Pointer, number: Long, token: Pointer?, length: Size)
    fun strongroom_call_cancel(call: Pointer)
    fun strongroom_call_free(call: Pointer)
    fun strongroom_pin_help(typed: Pointer?, length: Size): Pointer
    fun strongroom_reply_text(reply: Pointer): Pointer
    fun strongroom_reply_secret(reply: Pointer): Pointer?
    fun strongroom_reply_secret_length(reply: Pointer): Size
    fun strongroom_reply_free(reply: Pointer)
}

internal val library: Functions by lazy {
    val functions = Native.load("strongroom_client_ffi", Functions::class.java)
    check(functions.strongroom_abi_version() == ABI) { "the library is of another version than this package" }
    functions
}

/** Lends bytes to the library, and wipes the copy. */
internal fun <T> lend(bytes: ByteArray, use: (Pointer?, Size) -> T): T {
    if (bytes.isEmpty()) return use(null, Size(0))
    val memory = Memory(bytes.size.toLong())
    try {
        memory.write(0, bytes, 0, bytes.size)
        return use(memory, Size(bytes.size.toLong()))
    } finally {
        memory.clear()
    }
}

/** What a reply says, and the bytes that it brings. */
internal class Reply(val told: JsonObject, val bytes: ByteArray)

internal fun readText(text: Pointer): JsonObject = JsonParser.parseString(text.getString(0, "UTF-8")).asJsonObject

/** Reads a reply and frees it, which wipes what it brings. */
internal fun readReply(reply: Pointer): Reply {
    try {
        val length = library.strongroom_reply_secret_length(reply).toInt()
        val bytes = library.strongroom_reply_secret(reply)?.getByteArray(0, length)
        return Reply(readText(library.strongroom_reply_text(reply)), bytes ?: ByteArray(0))
    } finally {
        library.strongroom_reply_free(reply)
    }
}

/** Lends a text, with a NUL at the end. */
internal fun <T> lendText(text: String, use: (Pointer) -> T): T = lend(text.toByteArray() + 0) { pointer, _ -> use(pointer!!) }
