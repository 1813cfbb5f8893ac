// Registers a secret and recovers it: the arguments are a configuration file and a file with the auth token of its only realm.
import Foundation
import Strongroom

let configuration = try String(contentsOfFile: CommandLine.arguments[1], encoding: .utf8)
let token = try String(contentsOfFile: CommandLine.arguments[2], encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
let client = try Client(configuration: configuration, tokens: { _ in token })
try await client.register(pin: Data("4821".utf8), secret: Data("correct horse battery staple".utf8), numGuesses: 5)
for pin in ["0000", "4821"] {
    do {
        print("recovered \(try await client.recover(pin: Data(pin.utf8)).count) bytes")
    } catch let error as StrongroomError {
        if error.kind == .invalidPin && error.guessesRemaining == 0 { print("The secret is gone.") }
        print(error.message)
    }
}
try await client.close()
