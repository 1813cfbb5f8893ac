// What the WebAssembly needs of the place where it runs, as `src/host.rs` asks for it.

/** How long a request may take. */
const TIMEOUT_MS = 30_000;
/** The largest answer to a request that is read, in bytes. A realm's answers are far smaller. */
const MAX_ANSWER = 16 * 1024;

export class Host {
    #tokens;
    #fetch;
    #onProgress;
    #stretcher;

    constructor({ tokens, fetch, onProgress, stretcher }) {
        this.#tokens = tokens;
        this.#fetch = fetch;
        this.#onProgress = onProgress;
        this.#stretcher = stretcher;
    }

    async token(realm, signal) {
        return typeof this.#tokens === 'function' ? this.#tokens(realm, signal) : this.#tokens[realm];
    }

    async post(url, headers, body, signal) {
        try {
            return await this.#ask(url, { method: 'POST', headers, body }, MAX_ANSWER, signal);
        } finally {
            // It has the user's token in it.
            body.fill(0);
        }
    }

    async get(url, headers, most, signal) {
        return this.#ask(url, { headers }, most, signal);
    }

    async #ask(url, request, most, signal) {
        try {
            const response = await this.#fetch(url, {
                ...request,
                signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
                // A realm is asked at its address and nowhere else, and knows its users by their tokens.
                redirect: 'error',
                credentials: 'omit',
                referrerPolicy: 'no-referrer',
                cache: 'no-store',
            });
            return { status: response.status, body: await read(response, most) };
        } catch (error) {
            // The SDK takes a text. Node says what happened in the cause.
            throw [error.message, error.cause?.message].filter(Boolean).join(': ');
        }
    }

    stretch(mode, pin, version, userInfo, signal) {
        return this.#stretcher.stretch(mode, pin, version, userInfo, signal);
    }

    progress(step) {
        try {
            this.#onProgress?.(step);
        } catch (error) {
            // It is the application's, and no reason for an operation to fail.
            queueMicrotask(() => {
                throw error;
            });
        }
    }
}

/** The body of an answer, whatever its length is said to be. */
async function read(response, most) {
    const whole = new Uint8Array(most);
    let length = 0;
    const reader = response.body?.getReader();
    for (let part = await reader?.read(); part && !part.done; part = await reader.read()) {
        if (length + part.value.length > most) {
            await reader.cancel();
            throw new Error(`the answer is longer than ${most} bytes`);
        }
        whole.set(part.value, length);
        length += part.value.length;
    }
    return whole.subarray(0, length);
}
