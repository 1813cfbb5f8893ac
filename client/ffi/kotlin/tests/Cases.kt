/**
 * Plays the cases of `client/cases` with the client in Kotlin, as `client/cases/README.md` says: the arguments are the address of a control, and
 * the folder of the cases.
 */
import com.google.gson.JsonArray
import com.google.gson.JsonObject
import com.google.gson.JsonParser
import java.io.File
import java.net.HttpURLConnection
import java.net.URL
import java.util.concurrent.Callable
import java.util.concurrent.Executors
import kotlin.system.exitProcess
import kotlinx.coroutines.runBlocking
import strongroom.Client
import strongroom.StrongroomException

/** How many cases are played at once. */
private const val AT_ONCE = 4

/** The realms that the cases are played at. */
private class Stage(private val control: String) {
    fun ask(method: String, path: String, body: String?): JsonObject {
        val connection = URL(control + path).openConnection() as HttpURLConnection
        connection.requestMethod = method
        connection.readTimeout = 120_000
        if (body != null) {
            connection.doOutput = true
            connection.setRequestProperty("Content-Type", "application/json")
            connection.outputStream.use { it.write(body.toByteArray()) }
        }
        val failed = connection.responseCode != 200
        val answer = (if (failed) connection.errorStream else connection.inputStream).use { it.readBytes().toString(Charsets.UTF_8) }
        check(!failed) { "$path: $answer" }
        return parse(answer)
    }
}

private fun parse(text: String): JsonObject = JsonParser.parseString(text).asJsonObject

private fun outcome(name: String, value: Any): JsonObject {
    val made = JsonObject()
    when (value) {
        is Boolean -> made.addProperty(name, value)
        is String -> made.addProperty(name, value)
        is JsonObject -> made.add(name, value)
    }
    return made
}

/** An error as the cases write it. */
private fun told(error: StrongroomException): JsonObject {
    val causes = JsonArray()
    for (cause in error.causes) {
        val one = JsonObject()
        one.addProperty("realm", cause.realm)
        one.addProperty("kind", cause.kind.name)
        one.addProperty("guessesRemaining", cause.guessesRemaining)
        one.addProperty("retryable", cause.retryable)
        one.addProperty("message", cause.message)
        causes.add(one)
    }
    val all = JsonObject()
    all.addProperty("operation", error.operation.name)
    all.addProperty("kind", error.kind.name)
    all.addProperty("guessesRemaining", error.guessesRemaining)
    all.addProperty("retryable", error.retryable)
    all.addProperty("mayHaveCostAGuess", error.mayHaveCostAGuess)
    all.addProperty("message", error.message)
    all.add("causes", causes)
    return outcome("error", all)
}

private fun client(made: JsonObject): Client {
    val tokens = made["tokens"].asJsonObject
    return Client(
        made["configuration"].asString, { realm -> tokens[realm]?.asString }, previous = made["previous"].asJsonArray.map { it.asString },
        patienceMs = made["patienceMs"].let { if (it.isJsonNull) null else it.asLong }
    )
}

private suspend fun play(client: Client, step: JsonObject): JsonObject {
    fun bytes(name: String) = (step[name]?.asString ?: "").toByteArray()
    return try {
        when (val operation = step["operation"].asString) {
            "recover" -> return outcome("secret", client.recover(bytes("pin"), bytes("userInfo")).toString(Charsets.UTF_8))
            "status" -> return outcome("status", client.status().summary.name)
            "register" -> client.register(bytes("pin"), bytes("secret"), step["numGuesses"].asInt, bytes("userInfo"))
            "delete" -> client.delete()
            "close" -> client.close()
            else -> error("there is no operation $operation")
        }
        outcome("done", true)
    } catch (error: StrongroomException) {
        told(error)
    }
}

/** Where the client did another thing than a case expects. */
private suspend fun differences(stage: Stage, case: String): List<String> {
    val begun = stage.ask("POST", "cases", case)
    val path = "cases/${begun["case"].asString}"
    val clients = mutableMapOf<String, Client>()
    try {
        parse(case)["steps"].asJsonArray.map { it.asJsonObject }.forEachIndexed { number, step ->
            val name = step["client"].asString
            stage.ask("POST", "$path/steps/$number", "")
            val client = clients.getOrPut(name) { client(begun["clients"].asJsonObject[name].asJsonObject) }
            val found = stage.ask("POST", "$path/steps/$number/outcome", play(client, step).toString())["differences"].asJsonArray
            if (found.size() > 0) return found.map { "step $number: $it" }
            if (step["operation"].asString == "close") clients.remove(name)
        }
        return emptyList()
    } finally {
        stage.ask("DELETE", path, null)
        clients.values.forEach { it.close() }
    }
}

fun main(arguments: Array<String>) {
    val stage = Stage(arguments[0])
    val cases = File(arguments[1]).listFiles { file -> file.extension == "json" }!!.sorted().associate { it.name to it.readText() }
    check(cases.size > 10) { "there are no cases in ${arguments[1]}" }
    val right = cases.getValue("wrong-pin.json")
    val changed = right.replaceFirst("\"guessesRemaining\": 1", "\"guessesRemaining\": 7")
    check(changed != right && runBlocking { differences(stage, changed) }.isNotEmpty()) { "a client that does not do what a case says is not noticed" }
    val pool = Executors.newFixedThreadPool(AT_ONCE)
    val played = cases.mapValues { (_, case) -> pool.submit(Callable { runBlocking { differences(stage, case) } }) }
    val wrong = played.mapValues { it.value.get() }.filterValues { it.isNotEmpty() }
    wrong.forEach { (name, found) -> System.err.println("$name: ${found.joinToString()}") }
    println("kotlin: ${cases.size - wrong.size} cases passed, ${wrong.size} failed")
    exitProcess(if (wrong.isEmpty()) 0 else 1)
}
