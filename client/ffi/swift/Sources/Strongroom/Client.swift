import CStrongroom
import Foundation

/// How long a thread is in the library at a time.
private let lookMs: UInt32 = 200

/// Registers, recovers and deletes one user's secret at the realms of a configuration.
///
/// `tokens` is given the id of a realm (32 hexadecimal digits, lower case) for every request, and returns a token or nil. What it
/// throws, the operation throws. To cancel a task cancels its operation: what it had sent may still happen, and a recovery may have
/// cost a guess.
public final class Client: @unchecked Sendable {
    public typealias Tokens = @Sendable (_ realm: String) async throws -> String?

    private struct Options: Encodable {
        let configuration: String, previous: [String], allowHttp: Bool, rootCertificates: String?, patienceMs: UInt64?
    }

    private struct Request: Encodable {
        let operation: String
        var numGuesses: Int?
        var userInfo: String?
    }

    private let client: OpaquePointer
    private let tokens: Tokens
    private let onProgress: @Sendable (Progress) -> Void
    // Calls block, and Swift's own threads must not.
    private let queue = DispatchQueue(label: "strongroom", attributes: .concurrent)

    public init(configuration: String, tokens: @escaping Tokens, previous: [String] = [],
                onProgress: @escaping @Sendable (Progress) -> Void = { _ in }, allowHttp: Bool = false,
                rootCertificates: String? = nil, patienceMs: UInt64? = nil) throws {
        precondition(strongroom_abi_version() == 2, "the library is of another version than this package")
        let options = Options(configuration: configuration, previous: previous, allowHttp: allowHttp,
                              rootCertificates: rootCertificates, patienceMs: patienceMs)
        guard let made = strongroom_client_new(try Self.json(options)) else { throw ArgumentError(message: "there is no memory left") }
        if let refusal = strongroom_client_refusal(made) {
            let why = try? JSONDecoder().decode(Reply.self, from: Data(String(cString: refusal).utf8)).refused
            strongroom_client_free(made)
            throw ArgumentError(message: why ?? "the options are not as expected")
        }
        client = made
        self.tokens = tokens
        self.onProgress = onProgress
    }

    deinit { strongroom_client_free(client) }

    /// Keeps `secret`, at most 128 bytes, under `pin`, for at most `numGuesses` wrong PINs in a row. Replaces what was there.
    public func register(pin: Data, secret: Data, numGuesses: Int, userInfo: Data = Data()) async throws {
        let request = Request(operation: "register", numGuesses: numGuesses, userInfo: Self.hex(userInfo))
        _ = try await run(request, pin: pin, secret: secret)
    }

    /// The secret. A wrong PIN costs a guess; the right one gives all guesses back.
    public func recover(pin: Data, userInfo: Data = Data()) async throws -> Data {
        try await run(Request(operation: "recover", userInfo: Self.hex(userInfo)), pin: pin).secret
    }

    /// Puts the secret under another PIN, whole or not at all: whatever interrupts it, the old PIN or the new one opens the secret. A wrong
    /// old PIN costs a guess. The number of guesses stays.
    public func changePin(old: Data, new: Data, userInfo: Data = Data()) async throws {
        _ = try await run(Request(operation: "changePin", userInfo: Self.hex(userInfo)), pin: old, secret: new)
    }

    /// Makes whole what an interrupted change of the PIN, or a realm that missed a registration, has left. A wrong PIN costs a guess.
    public func repair(pin: Data, userInfo: Data = Data()) async throws -> Repair {
        Repair(try await run(Request(operation: "repair", userInfo: Self.hex(userInfo)), pin: pin).reply)
    }

    /// What the realms say is registered. Costs no guess.
    public func status() async throws -> Status { Status(try await run(Request(operation: "status")).reply) }

    /// Which requests on the user's record counted, such as tries of the PIN. Costs no guess.
    public func attempts() async throws -> Attempts { Attempts(try await run(Request(operation: "attempts")).reply) }

    /// Has every realm of the configuration forget the user. Succeeds where there is nothing.
    public func delete() async throws { _ = try await run(Request(operation: "delete")) }

    /// Waits for what earlier operations left under way.
    public func close() async throws { _ = try await run(Request(operation: "close")) }

    private func run(_ request: Request, pin: Data = Data(), secret: Data = Data()) async throws -> (reply: Reply, secret: Data) {
        let text = try Self.json(request)
        let begun = pin.withUnsafeBytes { pin in
            secret.withUnsafeBytes { secret in
                strongroom_call_begin(client, text, pin.bindMemory(to: UInt8.self).baseAddress, pin.count,
                                      secret.bindMemory(to: UInt8.self).baseAddress, secret.count)
            }
        }
        guard let call = begun else { throw ArgumentError(message: "there is no memory left") }
        // Ends the operation, if something thrown got us here.
        defer { strongroom_call_free(call) }
        while true {
            try Task.checkCancellation()
            guard let (reply, secret) = try await next(call) else { continue }
            if let request = reply.token {
                try await give(call, request)
            } else if let step = reply.progress {
                onProgress(Progress(rawValue: step) ?? .other)
            } else if let error = reply.error {
                throw StrongroomError(error)
            } else if let why = reply.refused {
                throw ArgumentError(message: why)
            } else if reply.cancelled == true {
                throw CancellationError()
            } else {
                return (reply, secret)
            }
        }
    }

    private func next(_ call: OpaquePointer) async throws -> (Reply, Data)? {
        try await withCheckedThrowingContinuation { continuation in
            queue.async {
                guard let reply = strongroom_call_next(call, lookMs) else { return continuation.resume(returning: nil) }
                // Wipes the secret.
                defer { strongroom_reply_free(reply) }
                continuation.resume(with: Result {
                    let text = String(cString: strongroom_reply_text(reply))
                    let told = try JSONDecoder().decode(Reply.self, from: Data(text.utf8))
                    let length = strongroom_reply_secret_length(reply)
                    return (told, strongroom_reply_secret(reply).map { Data(bytes: $0, count: length) } ?? Data())
                })
            }
        }
    }

    private func give(_ call: OpaquePointer, _ request: Reply.Request) async throws {
        do {
            let token = try await tokens(request.realm)
            if let bytes = token.map({ Array($0.utf8) }) {
                strongroom_call_give_token(call, request.number, bytes, bytes.count)
            } else {
                strongroom_call_give_token(call, request.number, nil, 0)
            }
        } catch {
            strongroom_call_give_token(call, request.number, nil, 0)
            throw error
        }
    }

    private static func json<T: Encodable>(_ value: T) throws -> String { String(decoding: try JSONEncoder().encode(value), as: UTF8.self) }

    private static func hex(_ bytes: Data) -> String { bytes.map { String(format: "%02x", $0) }.joined() }
}
