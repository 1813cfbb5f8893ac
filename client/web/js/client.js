// The client, wherever it runs. What decides anything is in WebAssembly; this gives it the form that JavaScript expects.

import init, { Core, pin_help } from './core.js';
import { StrongroomError } from './error.js';
import { Host } from './host.js';
import { Stretcher } from './stretcher.js';

/** The compiled WebAssembly, once somebody has asked for it. */
let loaded;

async function load(place) {
    loaded ??= place.module().then(async (module) => {
        await init({ module_or_path: module });
        return module;
    });
    try {
        return await loaded;
    } catch (error) {
        // The next client tries again.
        loaded = undefined;
        throw error;
    }
}

/** Extended by `browser.js` and `node.js`, which say where they are. The types are in `strongroom.d.ts`. */
export class BaseClient {
    #core;
    #stretcher;

    static async build(configuration, tokens, options = {}) {
        const { previous = [], onProgress, retryPolicy = {}, fetch = globalThis.fetch.bind(globalThis) } = options;
        const stretcher = new Stretcher(this.place, await load(this.place));
        const host = new Host({ tokens, fetch, onProgress, stretcher });
        const { patienceMs, copyAfterMs } = retryPolicy;
        const never = copyAfterMs === null ? -1 : copyAfterMs;
        const client = new this();
        client.#core = new Core(host, json(configuration), previous.map(json), patienceMs, never);
        client.#stretcher = stretcher;
        return client;
    }

    async register(pin, secret, userInfo, numGuesses, { signal } = {}) {
        const guesses = Number.isInteger(numGuesses) && numGuesses > 0 && numGuesses < 256 ? numGuesses : 0;
        const start = (unwanted) => this.#core.register(bytes(pin), bytes(secret), bytes(userInfo), guesses, unwanted);
        await this.#run(signal, start);
    }

    async recover(pin, userInfo, { signal } = {}) {
        return this.#run(signal, (unwanted) => this.#core.recover(bytes(pin), bytes(userInfo), unwanted));
    }

    async changePin(old, chosen, userInfo, { signal } = {}) {
        await this.#run(signal, (unwanted) => this.#core.change_pin(bytes(old), bytes(chosen), bytes(userInfo), unwanted));
    }

    async repair(pin, userInfo, { signal } = {}) {
        const start = (unwanted) => this.#core.repair(bytes(pin), bytes(userInfo), unwanted);
        const { realms } = JSON.parse(await this.#run(signal, start));
        return { realms, isWhole: realms.every(({ mended }) => mended !== null) };
    }

    async status({ signal } = {}) {
        const status = JSON.parse(await this.#run(signal, (unwanted) => this.#core.status(unwanted)));
        return { ...status, undecided: status.undecided && new StrongroomError(status.undecided) };
    }

    async attempts({ signal } = {}) {
        const { realms } = JSON.parse(await this.#run(signal, (unwanted) => this.#core.attempts(unwanted)));
        const timed = ({ unixS, ...counted }) => ({ ...counted, time: unixS === null ? null : new Date(unixS * 1000) });
        const listed = (list) => list && { ...list, newest: list.newest.map(timed) };
        return { realms: realms.map(({ list, ...realm }) => ({ ...realm, list: listed(list) })) };
    }

    async delete({ signal } = {}) {
        await this.#run(signal, (unwanted) => this.#core.delete(unwanted));
    }

    async close() {
        const core = this.#core;
        this.#core = undefined;
        await core?.close();
        this.#stretcher.close();
        core?.free();
    }

    async #run(signal, start) {
        signal?.throwIfAborted();
        if (!this.#core) {
            throw new Error('this client is closed: build another');
        }
        let cancel;
        const unwanted = new Promise((resolve) => {
            cancel = resolve;
        });
        signal?.addEventListener('abort', cancel, { once: true });
        try {
            return await start(unwanted);
        } catch (error) {
            // Null: it was cancelled.
            throw error === null ? signal.reason : failure(error);
        } finally {
            signal?.removeEventListener('abort', cancel);
            // What waits for it is freed.
            cancel();
        }
    }
}

/** What can be said of a PIN. Extended as the client is. */
export class BasePinHelp {
    static async of(typed) {
        await load(this.place);
        const [pin, said] = pin_help(typed);
        return Object.assign(new this(), { pin, ...JSON.parse(said) });
    }
}

/** An operation fails with a text; anything else is a wrong call. */
function failure(error) {
    return typeof error === 'string' ? new StrongroomError(JSON.parse(error)) : error;
}

function json(configuration) {
    return typeof configuration === 'string' ? configuration : JSON.stringify(configuration);
}

function bytes(value) {
    return typeof value === 'string' ? new TextEncoder().encode(value) : value;
}
