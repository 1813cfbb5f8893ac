/** The client in Kotlin against a realm on this machine: the arguments are its configuration, and a file with a token for each line. */
import java.io.File
import kotlin.system.exitProcess
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.runBlocking
import strongroom.*

private var passed = 0

private fun same(what: String, found: Any?, expected: Any?) {
    if (found != expected) {
        System.err.println("$what: $found, expected $expected")
        exitProcess(1)
    }
    passed += 1
}

private suspend fun failure(what: suspend () -> Unit): StrongroomException? = try {
    what()
    null
} catch (error: StrongroomException) {
    error
}

private val PIN = "4821".toByteArray()
private val SECRET = "correct horse".toByteArray()

private suspend fun aWrongPinCostsAGuessAndTheLastOneTheSecret(configuration: String, token: String) {
    val steps = mutableListOf<Progress>()
    val client = Client(configuration, { token }, onProgress = { steps += it })
    client.register(PIN, SECRET, numGuesses = 2)
    same("steps", steps, listOf(Progress.Register1, Progress.Stretch, Progress.Register2))
    val error = failure { client.recover("0000".toByteArray()) }!!
    same("kind", error.operation to error.kind, Operation.Recover to ErrorKind.InvalidPin)
    same("fields", listOf(error.guessesRemaining, error.retryable, error.mayHaveCostAGuess), listOf(1, false, null))
    same("causes", error.causes.map { it.kind to it.guessesRemaining }, listOf(Cause.InvalidPin to 1))
    same("secret", client.recover(PIN).toList(), SECRET.toList())
    for (left in listOf(1, 0, 0)) same("left", failure { client.recover("0000".toByteArray()) }?.guessesRemaining, left)
    same("status", client.status().summary, Summary.NoGuesses)
    client.delete()
    same("deleted", client.status().summary, Summary.NotRegistered)
    same("nothing", failure { client.recover(PIN) }?.kind, ErrorKind.NotRegistered)
    client.register(byteArrayOf(0, -1), ByteArray(0), numGuesses = 255, userInfo = "Zoë".toByteArray())
    same("empty", client.recover(byteArrayOf(0, -1), "Zoë".toByteArray()).size, 0)
    client.close()
}

private suspend fun whatMakesNoSenseIsRefused(configuration: String) {
    val thrown = try { Client("{", { null }) } catch (error: ConfigurationException) { error.message }
    same("refused", thrown.toString().contains("not the JSON object"), true)
    same("no token", failure { Client(configuration, { null }).delete() }?.kind, ErrorKind.InvalidAuth)
    val broken = try { Client(configuration, { throw NoSuchElementException("signed out") }).delete() } catch (error: NoSuchElementException) { error.message }
    same("thrown", broken, "signed out")
    val long = try { Client(configuration, { null }).register(PIN, ByteArray(129), 1) } catch (error: IllegalArgumentException) { error.message }
    same("long", long.toString().contains("128"), true)
}

private suspend fun everyTryOfAPinIsListed(configuration: String, token: String) {
    val client = Client(configuration, { token })
    client.register(PIN, SECRET, numGuesses = 3)
    failure { client.recover("0000".toByteArray()) }
    client.recover(PIN)
    val told = client.attempts().realms.single()
    same("no cause", told.cause, null)
    val list = told.list!!
    same("tries", list.newest.map { it.what }, listOf(Counted.Registered, Counted.Guess, Counted.Guess, Counted.Recovered))
    same("left", list.newest.map { it.guessesLeft }, listOf(3, 2, 1, 3))
    same("list", listOf(list.isYours, list.count, list.guessesLeft), listOf(true, 4L, 3))
    same("version", list.version, client.status().realms.single().version)
    client.close()
}

private suspend fun thePinIsChangedAndNothingIsLeftToRepair(configuration: String, token: String) {
    val client = Client(configuration, { token })
    val chosen = "7305".toByteArray()
    client.register(PIN, SECRET, numGuesses = 3)
    same("old PIN", failure { client.changePin("0000".toByteArray(), chosen) }?.let { it.operation to it.guessesRemaining }, Operation.ChangePin to 2)
    client.changePin(PIN, chosen)
    same("no longer", failure { client.recover(PIN) }?.kind, ErrorKind.InvalidPin)
    same("secret", client.recover(chosen).toList(), SECRET.toList())
    val repaired = client.repair(chosen)
    same("whole", repaired.isWhole to repaired.realms.map { it.mended to it.cause }, true to listOf(Mended.Nothing to null))
    client.close()
}

private suspend fun aPinIsHelpedWithBeforeItIsUsed(configuration: String, token: String) {
    val help = PinHelp.of("1984\n")
    same("common", help.common to help.oddities, CommonPin.Year to emptyList<PinOddity>())
    same("line end", String(help.pin), "1984")
    val odd = PinHelp.of("４８２１ ")
    same("odd", odd.common to odd.oddities, null to listOf(PinOddity.OtherDigits, PinOddity.OuterSpace))
    same("empty", PinHelp.of("").oddities, listOf(PinOddity.Empty))
    val client = Client(configuration, { token })
    client.register(PinHelp.of("zoe\u0308 8").pin, SECRET, numGuesses = 2)
    same("one text", client.recover(PinHelp.of("zo\u00eb\u00a08\r\n").pin).toList(), SECRET.toList())
    client.close()
}

private fun aCancelledCoroutineEndsTheOperation(configuration: String) = runBlocking {
    val begun = CompletableDeferred<Unit>()
    val client = Client(configuration, { begun.complete(Unit); CompletableDeferred<String>().await() })
    val recovery = async { client.recover(PIN) }
    begun.await()
    recovery.cancelAndJoin()
    same("cancelled", try { recovery.await(); "no" } catch (_: CancellationException) { "yes" }, "yes")
}

fun main(arguments: Array<String>) {
    val (configuration, tokens) = arguments.map { File(it).readText() }
    runBlocking {
        aWrongPinCostsAGuessAndTheLastOneTheSecret(configuration, tokens.lines()[0])
        everyTryOfAPinIsListed(configuration, tokens.lines()[0])
        thePinIsChangedAndNothingIsLeftToRepair(configuration, tokens.lines()[0])
        aPinIsHelpedWithBeforeItIsUsed(configuration, tokens.lines()[0])
        whatMakesNoSenseIsRefused(configuration)
    }
    aCancelledCoroutineEndsTheOperation(configuration)
    println("kotlin: $passed passed, 0 failed")
    exitProcess(0)
}
