/** Registers a secret and recovers it: the arguments are a configuration file and a file with the auth token of its only realm. */
import java.io.File
import kotlinx.coroutines.runBlocking
import strongroom.Client
import strongroom.ErrorKind
import strongroom.StrongroomException

fun main(arguments: Array<String>) = runBlocking {
    val (configuration, token) = arguments.map { File(it).readText() }
    val client = Client(configuration, { token.trim() })
    client.register("4821".toByteArray(), "correct horse battery staple".toByteArray(), numGuesses = 5)
    for (pin in listOf("0000", "4821")) {
        try {
            println("recovered ${client.recover(pin.toByteArray()).size} bytes")
        } catch (error: StrongroomException) {
            if (error.kind == ErrorKind.InvalidPin && error.guessesRemaining == 0) println("The secret is gone.")
            println(error.message)
        }
    }
    client.close()
}
