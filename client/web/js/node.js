// The package in Node.

import { readFile } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';

import { BaseClient, BasePinHelp } from './client.js';

export { StrongroomError } from './error.js';

const place = {
    /** The compiled WebAssembly. */
    async module() {
        return WebAssembly.compile(await readFile(new URL('./core_bg.wasm', import.meta.url)));
    },

    /** A worker that tells `onMessage` what it says, and `onError` if it fails. */
    startWorker(onMessage, onError) {
        const worker = new Worker(new URL('./node-worker.js', import.meta.url), { name: 'strongroom' });
        worker.on('message', onMessage);
        worker.on('error', onError);
        return {
            send: (message) => worker.postMessage(message),
            // A worker with nothing to do keeps no process alive.
            busy: (is) => (is ? worker.ref() : worker.unref()),
            end: () => void worker.terminate(),
        };
    },
};

export class Client extends BaseClient {
    static place = place;
}

export class PinHelp extends BasePinHelp {
    static place = place;
}
